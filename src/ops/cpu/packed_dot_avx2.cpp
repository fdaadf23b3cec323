// SPDX-License-Identifier: Apache-2.0
// Packed blocks with AVX2: a group of 32 weights fills a register, is unpacked once and multiplied
// with all tokens of the tile. Weights of at most 6 bits cannot saturate the 16-bit sums of
// vpmaddubsw; where they are signed, their sign moves to the activations.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include <cstring>

#include "base/check.h"
#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/half.h"
#include "ops/cpu/packed_blocks.h"

#define ONEBEAT_AVX2 ONEBEAT_TARGET("avx2,fma,f16c")

namespace onebeat {
namespace {

ONEBEAT_AVX2 inline float half_at(const std::byte* bytes) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(bytes))));
}

ONEBEAT_AVX2 inline __m256i load_32(const std::byte* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

ONEBEAT_AVX2 inline float sum_lanes(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/// 16 where a bit is set, in the order of the bits.
ONEBEAT_AVX2 inline __m256i spread_fifth_bits(const std::byte* bytes) {
  std::uint32_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  const __m256i byte_of =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i spread =
      _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<std::int32_t>(bits)), byte_of);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of), bit_of),
                          _mm256_set1_epi8(16));
}

constexpr bool is_signed(WeightType type) {
  return type == WeightType::kQ5_0 || type == WeightType::kQ6_K;
}

constexpr int groups_in_block(WeightType type) {
  return static_cast<int>(block_elements(type) / kQuantBlock);
}

/// Eight unsigned bytes as fp32.
ONEBEAT_AVX2 inline __m256 eight_bytes(std::uint64_t bytes) {
  const __m128i words = _mm_cvtsi64_si128(static_cast<long long>(bytes));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(words));
}

/// The scales of a block's groups: two for each, and the offsets.
template <WeightType kType>
struct Scales {
  static constexpr int kGroups = groups_in_block(kType);
  alignas(32) float scale[kType == WeightType::kQ6_K ? 2 * kGroups : kGroups];
  alignas(32) float offset[kGroups];
};

template <WeightType kType>
ONEBEAT_AVX2 inline void load_scales(const std::byte* block, Scales<kType>& out) {
  if constexpr (kType == WeightType::kQ5_0) {
    out.scale[0] = half_at(block);
  } else if constexpr (kType == WeightType::kQ5_1) {
    out.scale[0] = half_at(block);
    out.offset[0] = half_at(block + 2);
  } else if constexpr (kType == WeightType::kQ6_K) {
    const __m256 d = _mm256_set1_ps(half_at(block + 208));
    for (int i = 0; i < 16; i += 8) {
      const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 192 + i));
      _mm256_store_ps(out.scale + i,
                      _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))));
    }
  } else {
    // Four groups in a word: the low six bits of a and b, and four bits of c with two of theirs.
    std::uint32_t a, b, c;
    std::memcpy(&a, block + 4, 4);
    std::memcpy(&b, block + 8, 4);
    std::memcpy(&c, block + 12, 4);
    const std::uint64_t later_scales = (c & 0x0f0f0f0fU) | (a >> 2 & 0x30303030U);
    const std::uint64_t later_minima = (c >> 4 & 0x0f0f0f0fU) | (b >> 2 & 0x30303030U);
    const std::uint64_t scales = (a & 0x3f3f3f3fU) | later_scales << 32;
    const std::uint64_t minima = (b & 0x3f3f3f3fU) | later_minima << 32;
    _mm256_store_ps(out.scale, _mm256_mul_ps(_mm256_set1_ps(half_at(block)), eight_bytes(scales)));
    _mm256_store_ps(out.offset,
                    _mm256_mul_ps(_mm256_set1_ps(-half_at(block + 2)), eight_bytes(minima)));
  }
}

/// The integers of group g.
template <WeightType kType>
ONEBEAT_AVX2 inline __m256i load_group(const std::byte* block, int g) {
  const __m256i nibble = _mm256_set1_epi8(15);
  if constexpr (kType == WeightType::kQ5_0 || kType == WeightType::kQ5_1) {
    constexpr int kHead = kType == WeightType::kQ5_0 ? 2 : 4;
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + kHead + 4));
    const __m256i low =
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), nibble);
    const __m256i q = _mm256_or_si256(low, spread_fifth_bits(block + kHead));
    return kType == WeightType::kQ5_0 ? _mm256_sub_epi8(q, _mm256_set1_epi8(16)) : q;
  } else if constexpr (kType == WeightType::kQ6_K) {
    const int part = g % 4;
    const __m256i packed = load_32(block + g / 4 * 64 + part % 2 * 32);
    const __m256i low = _mm256_and_si256(part < 2 ? packed : _mm256_srli_epi16(packed, 4), nibble);
    // The pair of bits moves to bits 4 and 5 of its byte.
    const __m256i pairs = load_32(block + 128 + g / 4 * 32);
    const __m256i moved =
        part < 2 ? _mm256_slli_epi16(pairs, 4 - 2 * part) : _mm256_srli_epi16(pairs, 2 * part - 4);
    const __m256i high = _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
  } else {
    const std::byte* nibbles = block + (kType == WeightType::kQ4_K ? 16 : 48);
    const __m256i packed = load_32(nibbles + g / 2 * 32);
    const __m256i low =
        _mm256_and_si256(g % 2 == 0 ? packed : _mm256_srli_epi16(packed, 4), nibble);
    if constexpr (kType == WeightType::kQ4_K) return low;
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << g));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load_32(block + 16), bit), bit);
    return _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(16)));
  }
}

/// Eight sums of four products each; the first four belong to the first half of the group.
template <WeightType kType>
ONEBEAT_AVX2 inline __m256 products(__m256i weight, __m256i x) {
  __m256i pairs;
  if constexpr (is_signed(kType)) {
    pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(x, weight));
  } else {
    pairs = _mm256_maddubs_epi16(weight, x);
  }
  return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 inline void dot_row(const std::byte* row, std::int64_t blocks, const std::byte* x,
                                 std::int64_t x_row_bytes, float* sums) {
  constexpr int kGroups = groups_in_block(kType);
  __m256 totals[kTokens];
  float offsets[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    totals[t] = _mm256_setzero_ps();
    offsets[t] = 0;
  }
  for (std::int64_t b = 0; b < blocks; ++b, row += block_bytes(kType)) {
    Scales<kType> scales;
    load_scales<kType>(row, scales);
    for (int g = 0; g < kGroups; ++g) {
      const __m256i weight = load_group<kType>(row, g);
      __m256 scale;
      if constexpr (kType == WeightType::kQ6_K) {
        scale =
            _mm256_set_m128(_mm_set1_ps(scales.scale[2 * g + 1]), _mm_set1_ps(scales.scale[2 * g]));
      } else {
        scale = _mm256_set1_ps(scales.scale[g]);
      }
      for (int t = 0; t < kTokens; ++t) {
        const ActivationBlock& block =
            reinterpret_cast<const ActivationBlock*>(x + t * x_row_bytes)[b * kGroups + g];
        const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.q));
        const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(block.d));
        totals[t] = _mm256_fmadd_ps(products<kType>(weight, q), factor, totals[t]);
        if constexpr (!is_signed(kType)) offsets[t] += scales.offset[g] * block.s;
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) sums[t] = sum_lanes(totals[t]) + offsets[t];
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 void dot_tokens(const DotTask& task, const std::byte* x, std::int64_t x_row_bytes,
                             std::int64_t token) {
  const std::int64_t blocks = task.weight.cols / block_elements(kType);
  for (std::int64_t r = task.row_begin; r < task.row_end; ++r) {
    float sums[kTokens];
    dot_row<kType, kTokens>(task.weight.row(r), blocks, x + token * x_row_bytes, x_row_bytes, sums);
    for (int t = 0; t < kTokens; ++t) {
      float& out = task.out[(token + t) * task.out_stride + r];
      out = task.add ? out + sums[t] : sums[t];
    }
  }
}

template <WeightType kType>
void dot_all_tokens(const DotTask& task, const std::byte* x) {
  const std::int64_t x_row_bytes = activation_row_bytes(kType, task.weight.cols);
  std::int64_t t = 0;
  for (; t + 4 <= task.tokens; t += 4) dot_tokens<kType, 4>(task, x, x_row_bytes, t);
  for (; t < task.tokens; ++t) dot_tokens<kType, 1>(task, x, x_row_bytes, t);
}

}  // namespace

void dot_packed_avx2(const DotTask& task, const std::byte* x) {
  switch (task.weight.type) {
    case WeightType::kQ5_0:
      return dot_all_tokens<WeightType::kQ5_0>(task, x);
    case WeightType::kQ5_1:
      return dot_all_tokens<WeightType::kQ5_1>(task, x);
    case WeightType::kQ4_K:
      return dot_all_tokens<WeightType::kQ4_K>(task, x);
    case WeightType::kQ5_K:
      return dot_all_tokens<WeightType::kQ5_K>(task, x);
    case WeightType::kQ6_K:
      return dot_all_tokens<WeightType::kQ6_K>(task, x);
    default:
      ONEBEAT_CHECK(false);
  }
}

}  // namespace onebeat
#endif  // ONEBEAT_X86
