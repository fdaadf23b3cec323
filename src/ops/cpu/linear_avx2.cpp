// SPDX-License-Identifier: Apache-2.0
// AVX2: one block of 32 weights fills a register. Unsigned times signed bytes are multiplied by
// vpmaddubsw, which saturates at 16 bits: nibbles cannot reach that, and 8-bit weights are made
// unsigned by moving their sign to the activations, whose magnitude is at most 127.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include <cstring>

#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/half.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/packed_blocks.h"
#include "ops/cpu/panel/panel_kernels.h"

#define ONEBEAT_AVX2 ONEBEAT_TARGET("avx2,fma,f16c")

namespace onebeat {
namespace {

ONEBEAT_AVX2 inline float half_at(const std::byte* bytes) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(bytes))));
}

ONEBEAT_AVX2 inline float sum_lanes(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/// 16 bytes of nibbles as 32 bytes in the order of the elements.
ONEBEAT_AVX2 inline __m256i load_nibbles(const std::byte* bytes) {
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

template <WeightType kType>
ONEBEAT_AVX2 inline __m256i load_block(const std::byte* block) {
  if constexpr (kType == WeightType::kQ8_0) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 2));
  } else {
    return load_nibbles(block + (kType == WeightType::kQ4_0 ? 2 : 4));
  }
}

/// Eight 32-bit sums of four products each.
template <WeightType kType>
ONEBEAT_AVX2 inline __m256i integer_products(__m256i weight, __m256i x) {
  __m256i pairs;
  if constexpr (kType == WeightType::kQ8_0) {
    // A weight of -128 stays 128 as an unsigned byte, so 2 * 128 * 127 still fits.
    pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(x, weight));
  } else {
    pairs = _mm256_maddubs_epi16(weight, x);
  }
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 inline void dot_row(const std::byte* row, std::int64_t blocks, const std::byte* x,
                                 std::int64_t x_row_bytes, float* sums) {
  __m256 products[kTokens];
  float offsets[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    products[t] = _mm256_setzero_ps();
    offsets[t] = 0;
  }
  for (std::int64_t b = 0; b < blocks; ++b, row += block_bytes(kType)) {
    const __m256i weight = load_block<kType>(row);
    const float d = half_at(row);
    float offset = 0;
    if constexpr (kType == WeightType::kQ4_0) offset = -8.0f * d;
    if constexpr (kType == WeightType::kQ4_1) offset = half_at(row + 2);
    for (int t = 0; t < kTokens; ++t) {
      const ActivationBlock& block =
          reinterpret_cast<const ActivationBlock*>(x + t * x_row_bytes)[b];
      const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.q));
      products[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integer_products<kType>(weight, q)),
                                    _mm256_set1_ps(d * block.d), products[t]);
      if constexpr (kType != WeightType::kQ8_0) offsets[t] += offset * block.s;
    }
  }
  for (int t = 0; t < kTokens; ++t) sums[t] = sum_lanes(products[t]) + offsets[t];
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX2 void dot_tokens(const DotTask& task, const std::byte* x, std::int64_t x_row_bytes,
                             std::int64_t token) {
  const std::int64_t blocks = task.weight.cols / kQuantBlock;
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

void dot_quantized(const DotTask& task, const std::byte* x) {
  switch (task.weight.type) {
    case WeightType::kQ8_0:
      return dot_all_tokens<WeightType::kQ8_0>(task, x);
    case WeightType::kQ4_0:
      return dot_all_tokens<WeightType::kQ4_0>(task, x);
    case WeightType::kQ4_1:
      return dot_all_tokens<WeightType::kQ4_1>(task, x);
    default:
      return dot_packed_avx2(task, x);
  }
}

/// Eight bytes as fp32: value * d + offset.
ONEBEAT_AVX2 inline __m256 expand_bytes(__m128i bytes, bool is_signed, __m256 d, __m256 offset) {
  const __m256i wide = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide), d, offset);
}

template <WeightType kType>
ONEBEAT_AVX2 void expand_blocks(const std::byte* row, std::int64_t blocks, float* out) {
  for (std::int64_t b = 0; b < blocks; ++b, row += block_bytes(kType), out += kQuantBlock) {
    alignas(32) std::int8_t bytes[kQuantBlock];
    _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), load_block<kType>(row));
    const float d = half_at(row);
    float offset = 0;
    if constexpr (kType == WeightType::kQ4_0) offset = -8.0f * d;
    if constexpr (kType == WeightType::kQ4_1) offset = half_at(row + 2);
    for (int i = 0; i < kQuantBlock; i += 8) {
      const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + i));
      _mm256_storeu_ps(out + i, expand_bytes(eight, kType == WeightType::kQ8_0, _mm256_set1_ps(d),
                                             _mm256_set1_ps(offset)));
    }
  }
}

ONEBEAT_AVX2 void expand_halves(const std::byte* row, std::int64_t cols, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= cols; i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(eight));
  }
  for (; i < cols; ++i) out[i] = half_at(row + 2 * i);
}

ONEBEAT_AVX2 void expand_bf16(const std::byte* row, std::int64_t cols, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= cols; i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2 * i));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16);
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
  }
  for (; i < cols; ++i) out[i] = float_of_bf16(load_u16(row + 2 * i));
}

void expand_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  switch (type) {
    case WeightType::kF32:
      std::memcpy(out, row, static_cast<std::size_t>(cols) * sizeof(float));
      return;
    case WeightType::kF16:
      return expand_halves(row, cols, out);
    case WeightType::kBF16:
      return expand_bf16(row, cols, out);
    case WeightType::kQ8_0:
      return expand_blocks<WeightType::kQ8_0>(row, cols / kQuantBlock, out);
    case WeightType::kQ4_0:
      return expand_blocks<WeightType::kQ4_0>(row, cols / kQuantBlock, out);
    case WeightType::kQ4_1:
      return expand_blocks<WeightType::kQ4_1>(row, cols / kQuantBlock, out);
    default:
      return expand_packed_row(type, row, cols, out);
  }
}

template <int kTokens>
ONEBEAT_AVX2 inline void dot_f32_tokens(const DotTask& task, const float* row, const float* x,
                                        std::int64_t x_stride, std::int64_t token) {
  const std::int64_t cols = task.weight.cols;
  __m256 even[kTokens];
  __m256 odd[kTokens];
  for (int t = 0; t < kTokens; ++t) even[t] = odd[t] = _mm256_setzero_ps();
  std::int64_t i = 0;
  for (; i + 16 <= cols; i += 16) {
    const __m256 w0 = _mm256_loadu_ps(row + i);
    const __m256 w1 = _mm256_loadu_ps(row + i + 8);
    for (int t = 0; t < kTokens; ++t) {
      const float* values = x + (token + t) * x_stride + i;
      even[t] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(values), even[t]);
      odd[t] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(values + 8), odd[t]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    float sum = sum_lanes(_mm256_add_ps(even[t], odd[t]));
    for (std::int64_t j = i; j < cols; ++j) sum += row[j] * x[(token + t) * x_stride + j];
    float& out = task.out[(token + t) * task.out_stride + task.row_begin];
    out = task.add ? out + sum : sum;
  }
}

void dot_f32(const DotTask& task, const float* row, const float* x, std::int64_t x_stride) {
  std::int64_t t = 0;
  for (; t + 4 <= task.tokens; t += 4) dot_f32_tokens<4>(task, row, x, x_stride, t);
  for (; t < task.tokens; ++t) dot_f32_tokens<1>(task, row, x, x_stride, t);
}

}  // namespace

const LinearKernels kAvx2LinearKernels = {
    CpuIsa::kAvx2,           activation_row_bytes, quantize_activations, dot_quantized,
    quantize_panel_row_avx2, dot_panels_avx2,      expand_row,           dot_f32};

}  // namespace onebeat
#endif  // ONEBEAT_X86
