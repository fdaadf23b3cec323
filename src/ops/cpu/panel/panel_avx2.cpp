// SPDX-License-Identifier: Apache-2.0
// AVX2: half a panel, 8 rows, at a time. vpmaddubsw multiplies four columns of 8 rows with four
// activations and adds neighbours to 16 bits, where as many products are summed as cannot overflow;
// Q8_0's sign moves to the activations first. The sums are those of AVX-512, to the bit.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/cpu/panel/panel_activations.h"
#include "ops/cpu/panel/panel_kernels.h"
#include "ops/cpu/panel/panel_layout.h"

#define ONEBEAT_AVX2 ONEBEAT_TARGET("avx2,fma,f16c")

namespace onebeat {
namespace {

constexpr std::int64_t kHalfRows = 8;
/// Bytes between what is read and what is asked for; panel_avx512.cpp says why.
constexpr std::int64_t kAhead = 4096;

ONEBEAT_AVX2 inline __m256i load_32(const std::byte* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}
ONEBEAT_AVX2 inline __m256 load_halves(const std::byte* halves) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
}
ONEBEAT_AVX2 inline __m256 load_unsigned_bytes(const std::byte* bytes) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}
ONEBEAT_AVX2 inline __m256 load_signed_bytes(const std::byte* bytes) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}
ONEBEAT_AVX2 inline __m256i broadcast(const std::int8_t* four) {
  std::int32_t word;
  std::memcpy(&word, four, sizeof(word));
  return _mm256_set1_epi32(word);
}

/// The scales of the first and the last 16 columns of a group, and the offset.
struct HalfNumbers {
  __m256 scale[2];
  __m256 offset;
};

template <WeightType kType>
ONEBEAT_AVX2 inline HalfNumbers load_numbers(const std::byte* head, const std::byte* numbers,
                                             int half) {
  HalfNumbers found;
  head += 16 * half;
  if constexpr (kType == WeightType::kQ6_K) {
    const __m256 d = load_halves(head);
    found.scale[0] = _mm256_mul_ps(d, load_signed_bytes(numbers + 8 * half));
    found.scale[1] = _mm256_mul_ps(d, load_signed_bytes(numbers + 16 + 8 * half));
  } else if constexpr (kType == WeightType::kQ4_K || kType == WeightType::kQ5_K) {
    found.scale[0] = _mm256_mul_ps(load_halves(head), load_unsigned_bytes(numbers + 8 * half));
    found.offset = _mm256_xor_ps(
        _mm256_mul_ps(load_halves(head + 32), load_unsigned_bytes(numbers + 16 + 8 * half)),
        _mm256_set1_ps(-0.0f));
  } else {
    found.scale[0] = load_halves(numbers + 16 * half);
    if constexpr (panel_has_offset(kType)) found.offset = load_halves(numbers + 32 + 16 * half);
  }
  return found;
}

/// 32 bits as bytes of `value` or 0.
ONEBEAT_AVX2 inline __m256i spread_bits(const std::byte* bits, int value) {
  std::int32_t word;
  std::memcpy(&word, bits, sizeof(word));
  const __m256i bytes = _mm256_shuffle_epi8(
      _mm256_set1_epi32(word),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
  return _mm256_and_si256(set, _mm256_set1_epi8(static_cast<char>(value)));
}

/// Columns 4v to 4v + 3 of the 8 rows: unsigned bytes, of kQ8_0 signed ones.
template <WeightType kType>
ONEBEAT_AVX2 inline __m256i load_columns(const std::byte* group, int v, int half) {
  constexpr PanelShape kShape = panel_shape(kType);
  if constexpr (kShape.integer_bytes == 512) {
    return _mm256_xor_si256(load_32(group + 64 * v + 32 * half), _mm256_set1_epi8(-128));
  }
  const __m256i both = load_32(group + 64 * (v % 4) + 32 * half);
  __m256i columns =
      _mm256_and_si256(v < 4 ? both : _mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
  for (int bit = 0; bit < kShape.extra_bits; ++bit) {
    const std::byte* masks = group + kShape.integer_bytes + 64 * bit + 8 * v + 4 * half;
    columns = _mm256_or_si256(columns, spread_bits(masks, 16 << bit));
  }
  return columns;
}

/// Vectors of columns whose products fit 16 bits together: pairs of 15, 31, 63 or 128 times 127.
template <WeightType kType>
constexpr int vectors_in_16_bits() {
  if constexpr (kType == WeightType::kQ8_0) return 1;
  return 8 >> panel_shape(kType).extra_bits;
}

template <int kTokens>
struct HalfSums {
  __m256 products[kTokens];
  __m256 offsets[kTokens];
};

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 inline void accumulate(const std::byte* group, const std::byte* head, int half,
                                    const std::byte* x, std::int64_t x_row_bytes, std::int64_t cols,
                                    std::int64_t index, HalfSums<kTokens>& sums) {
  constexpr PanelShape kShape = panel_shape(kType);
  constexpr int kTogether = vectors_in_16_bits<kType>();
  constexpr int kCentre = kType == WeightType::kQ8_0 ? 0 : panel_centre(kType);
  constexpr int kScales = kType == WeightType::kQ6_K ? 2 : 1;
  const HalfNumbers numbers =
      load_numbers<kType>(head, group + kShape.integer_bytes + 64 * kShape.extra_bits, half);
  const auto q_of = [&](int t) ONEBEAT_AVX2 {
    return reinterpret_cast<const std::int8_t*>(x + t * x_row_bytes) + index * kQuantBlock;
  };
  const auto numbers_of = [&](int t) ONEBEAT_AVX2 -> const PanelActivation& {
    return reinterpret_cast<const PanelActivation*>(x + t * x_row_bytes + cols)[index];
  };
#pragma GCC unroll 2
  for (int s = 0; s < kScales; ++s) {
    __m256i dots[kTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const PanelActivation& a = numbers_of(t);
      const std::int32_t minus = kScales == 2 ? a.minus[s] : a.minus[0] + a.minus[1];
      dots[t] = _mm256_set1_epi32(minus * kCentre);
    }
    constexpr int kVectors = 8 / kScales;
#pragma GCC unroll 8
    for (int first = s * kVectors; first < (s + 1) * kVectors; first += kTogether) {
      __m256i narrow[kTokens];
#pragma GCC unroll 8
      for (int v = first; v < first + kTogether; ++v) {
        const __m256i columns = load_columns<kType>(group, v, half);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          __m256i q = broadcast(q_of(t) + 4 * v);
          __m256i magnitudes = columns;
          if constexpr (kType == WeightType::kQ8_0) {
            q = _mm256_sign_epi8(q, columns);
            magnitudes = _mm256_abs_epi8(columns);
          }
          const __m256i pairs = _mm256_maddubs_epi16(magnitudes, q);
          narrow[t] = v == first ? pairs : _mm256_add_epi16(narrow[t], pairs);
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(narrow[t], _mm256_set1_epi16(1)));
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256 scale = _mm256_mul_ps(numbers.scale[s], _mm256_set1_ps(numbers_of(t).d));
      sums.products[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), scale, sums.products[t]);
    }
  }
  if constexpr (panel_has_offset(kType)) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      sums.offsets[t] =
          _mm256_fmadd_ps(numbers.offset, _mm256_set1_ps(numbers_of(t).s), sums.offsets[t]);
    }
  }
}

/// Rows 8 * half on of a panel, of which `rows` exist; out is their place of the first token.
template <WeightType kType, int kTokens>
ONEBEAT_AVX2 void dot_half_panel(const DotTask& task, const std::byte* panel, int half, bool fetch,
                                 const std::byte* x, float* out, std::int64_t rows) {
  constexpr PanelShape kShape = panel_shape(kType);
  const std::int64_t cols = task.weight.cols;
  const std::int64_t x_row_bytes = panel_activation_bytes(cols);
  HalfSums<kTokens> sums;
  for (int t = 0; t < kTokens; ++t) sums.products[t] = sums.offsets[t] = _mm256_setzero_ps();
  const std::byte* head = panel;
  for (std::int64_t g = 0; g < cols / kQuantBlock; ++g) {
    if constexpr (kShape.head_bytes != 0) {
      if (g % 8 == 0) {
        head = panel;
        panel += kShape.head_bytes;
      }
    }
    if (fetch) {
      for (std::int64_t line = 0; line < kShape.group_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(panel + kAhead + line), _MM_HINT_T0);
      }
    }
    accumulate<kType, kTokens>(panel, head, half, x, x_row_bytes, cols, g, sums);
    panel += kShape.group_bytes();
  }
  const __m256i lanes = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(rows)),
                                           _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  for (int t = 0; t < kTokens; ++t, out += task.out_stride) {
    __m256 sum = sums.products[t];
    if constexpr (panel_has_offset(kType)) sum = _mm256_add_ps(sum, sums.offsets[t]);
    if (task.add) sum = _mm256_add_ps(sum, _mm256_maskload_ps(out, lanes));
    _mm256_maskstore_ps(out, lanes, sum);
  }
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 void dot_panel(const DotTask& task, const std::byte* panel, std::int64_t row,
                            const std::byte* x, std::int64_t token) {
  x += token * panel_activation_bytes(task.weight.cols);
  float* out = task.out + token * task.out_stride + row;
  for (int half = 0; half < 2; ++half, row += kHalfRows, out += kHalfRows) {
    const std::int64_t rows = std::min(kHalfRows, task.row_end - row);
    if (rows <= 0) return;
    dot_half_panel<kType, kTokens>(task, panel, half, half == 0 && token == 0, x, out, rows);
  }
}

template <WeightType kType>
ONEBEAT_AVX2 void dot_all_panels(const DotTask& task, const std::byte* x) {
  const std::int64_t bytes = panel_bytes(kType, task.weight.cols);
  for (std::int64_t r = task.row_begin; r < task.row_end; r += kPanelRows) {
    const std::byte* panel = task.weight.bytes + r / kPanelRows * bytes;
    std::int64_t t = 0;
    for (; t + 4 <= task.tokens; t += 4) dot_panel<kType, 4>(task, panel, r, x, t);
    for (; t + 2 <= task.tokens; t += 2) dot_panel<kType, 2>(task, panel, r, x, t);
    if (t < task.tokens) dot_panel<kType, 1>(task, panel, r, x, t);
  }
}

/// The largest magnitude of 32 numbers.
ONEBEAT_AVX2 inline float largest_of(const __m256 (&x)[4]) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 a = _mm256_max_ps(_mm256_andnot_ps(sign, x[0]), _mm256_andnot_ps(sign, x[1]));
  const __m256 b = _mm256_max_ps(_mm256_andnot_ps(sign, x[2]), _mm256_andnot_ps(sign, x[3]));
  const __m256 eight = _mm256_max_ps(a, b);
  __m128 found = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  found = _mm_max_ps(found, _mm_movehl_ps(found, found));
  return _mm_cvtss_f32(_mm_max_ss(found, _mm_movehdup_ps(found)));
}

/// The sum of 16 signed bytes.
ONEBEAT_AVX2 inline std::int32_t sum_of(__m128i q) {
  const __m256i wide = _mm256_madd_epi16(_mm256_cvtepi8_epi16(q), _mm256_set1_epi16(1));
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

}  // namespace

ONEBEAT_AVX2 void quantize_panel_row_avx2(const float* x, std::int64_t cols, std::byte* out) {
  auto* numbers = reinterpret_cast<PanelActivation*>(out + cols);
  auto* q = reinterpret_cast<__m256i*>(out);
  for (std::int64_t b = 0; b < cols / kQuantBlock; ++b, x += kQuantBlock, ++q) {
    __m256 values[4];
    for (int i = 0; i < 4; ++i) values[i] = _mm256_loadu_ps(x + 8 * i);
    const float d = largest_of(values) / 127.0f;
    const __m256 inverse = _mm256_set1_ps(d > 0 ? 1.0f / d : 0.0f);
    __m256i whole[4];
    for (int i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
    // Packing works on halves of registers: the groups of four come out as 0 2 4 6 1 3 5 7.
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                              _mm256_packs_epi32(whole[2], whole[3]));
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_store_si256(q, bytes);
    const std::int32_t first = sum_of(_mm256_castsi256_si128(bytes));
    const std::int32_t last = sum_of(_mm256_extracti128_si256(bytes, 1));
    numbers[b] = {d, d * static_cast<float>(first + last), {-first, -last}};
  }
}

void dot_panels_avx2(const DotTask& task, const std::byte* x) {
  for_panel_type(task.weight.type,
                 [&](auto type) { dot_all_panels<decltype(type)::kType>(task, x); });
}

}  // namespace onebeat
#endif  // ONEBEAT_X86
