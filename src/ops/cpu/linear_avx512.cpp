// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI. A register holds the nibbles of four blocks (or the bytes of two Q8_0 blocks);
// vpdpbusd multiplies unsigned weight bytes with signed activations and sums four neighbours, so
// that four (eight) lanes belong to a block. Activations are laid out to match, with their scales
// already repeated over the lanes; what is missing at the end of a row is masked to zero on both
// sides.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include <cstring>

#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/half.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/packed_blocks.h"
#include "ops/cpu/panel/panel_kernels.h"

#define ONEBEAT_AVX512 ONEBEAT_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")

namespace onebeat {
namespace {

/// 128 activations for four blocks of nibbles.
struct alignas(64) NibbleGroup {
  std::int8_t low[64];   ///< Elements 0 to 15 of each block: they meet the low nibbles.
  std::int8_t high[64];  ///< Elements 16 to 31.
  float d[16];           ///< Scale of each block, four times.
  float s[16];           ///< d times the sum of the block's integers, then three zeros.
};

/// 64 activations for two blocks of bytes.
struct alignas(64) BytePair {
  std::int8_t q[64];
  float d[16];              ///< Scale of each block, eight times.
  std::int32_t offset[16];  ///< -128 times the sum of the block's integers, then seven zeros:
                            ///< weights are made unsigned.
};

constexpr std::int64_t kGroupBlocks = 4;
constexpr std::int64_t kPairBlocks = 2;

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

std::int64_t quantized_row_bytes(WeightType type, std::int64_t cols) {
  if (is_packed(type)) return activation_row_bytes(type, cols);
  const std::int64_t blocks = cols / kQuantBlock;
  if (type == WeightType::kQ8_0) {
    return divide_up(blocks, kPairBlocks) * static_cast<std::int64_t>(sizeof(BytePair));
  }
  return divide_up(blocks, kGroupBlocks) * static_cast<std::int64_t>(sizeof(NibbleGroup));
}

/// Quantises 32 activations to two vectors of 16 integers.
struct QuantizedBlock {
  __m128i first, second;
  float d;
  int sum;
};

ONEBEAT_AVX512 inline QuantizedBlock quantize_block(const float* x) {
  const __m512 a = _mm512_loadu_ps(x);
  const __m512 b = _mm512_loadu_ps(x + 16);
  const float largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
  const float d = largest / 127.0f;
  const __m512 inverse = _mm512_set1_ps(d > 0 ? 1.0f / d : 0.0f);
  const __m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
  const __m512i qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
  const __m128i first = _mm512_cvtsepi32_epi8(qa);
  const __m128i second = _mm512_cvtsepi32_epi8(qb);
  const __m512i both = _mm512_add_epi32(_mm512_cvtepi8_epi32(first), _mm512_cvtepi8_epi32(second));
  return {first, second, d, _mm512_reduce_add_epi32(both)};
}

ONEBEAT_AVX512 void quantize_nibble_groups(const float* x, std::int64_t blocks, std::byte* out) {
  auto* groups = reinterpret_cast<NibbleGroup*>(out);
  if (blocks % kGroupBlocks != 0) groups[blocks / kGroupBlocks] = NibbleGroup{};
  for (std::int64_t b = 0; b < blocks; ++b, x += kQuantBlock) {
    NibbleGroup& group = groups[b / kGroupBlocks];
    const std::int64_t place = b % kGroupBlocks;
    const QuantizedBlock block = quantize_block(x);
    _mm_store_si128(reinterpret_cast<__m128i*>(group.low + 16 * place), block.first);
    _mm_store_si128(reinterpret_cast<__m128i*>(group.high + 16 * place), block.second);
    _mm_store_ps(group.d + 4 * place, _mm_set1_ps(block.d));
    _mm_store_ps(group.s + 4 * place, _mm_set_ss(block.d * static_cast<float>(block.sum)));
  }
}

ONEBEAT_AVX512 void quantize_byte_pairs(const float* x, std::int64_t blocks, std::byte* out) {
  auto* pairs = reinterpret_cast<BytePair*>(out);
  if (blocks % kPairBlocks != 0) pairs[blocks / kPairBlocks] = BytePair{};
  for (std::int64_t b = 0; b < blocks; ++b, x += kQuantBlock) {
    BytePair& pair = pairs[b / kPairBlocks];
    const std::int64_t place = b % kPairBlocks;
    const QuantizedBlock block = quantize_block(x);
    _mm_store_si128(reinterpret_cast<__m128i*>(pair.q + 32 * place), block.first);
    _mm_store_si128(reinterpret_cast<__m128i*>(pair.q + 32 * place + 16), block.second);
    _mm256_store_ps(pair.d + 8 * place, _mm256_set1_ps(block.d));
    _mm256_store_si256(reinterpret_cast<__m256i*>(pair.offset + 8 * place),
                       _mm256_zextsi128_si256(_mm_cvtsi32_si128(-128 * block.sum)));
  }
}

void quantize_row(WeightType type, const float* x, std::int64_t cols, std::byte* out) {
  if (is_packed(type)) return quantize_activations(type, x, cols, out);
  if (type == WeightType::kQ8_0) return quantize_byte_pairs(x, cols / kQuantBlock, out);
  quantize_nibble_groups(x, cols / kQuantBlock, out);
}

/// Four blocks of weights, expanded: lanes 4b to 4b + 3 belong to block b.
struct NibbleWeights {
  __m512i low, high;     ///< Unsigned bytes.
  __m512 scale, offset;  ///< offset is multiplied with the sums of the activations.
};

ONEBEAT_AVX512 inline __m512 halves_to_floats(__m512i halves) {
  return _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
}

/// `first` and `last` hold a group's bytes from its begin and from byte 16 on: blocks of five
/// 32-bit words.
ONEBEAT_AVX512 inline NibbleWeights expand_q4_1(__m512i first, __m512i last) {
  // Words 1-4, 6-9, 11-14, 16-19; from word 16 on they are only in `last` (index 16 + word - 4).
  const __m512i words = _mm512_setr_epi32(1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 28, 29, 30, 31);
  // Halves 0, 10, 20 and 30 are the scales, the next ones the offsets.
  const __m512i scales = _mm512_castsi256_si512(
      _mm256_setr_epi16(0, 0, 0, 0, 10, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30));
  const __m512i offsets = _mm512_castsi256_si512(
      _mm256_setr_epi16(1, 1, 1, 1, 11, 11, 11, 11, 21, 21, 21, 21, 31, 31, 31, 31));
  const __m512i mask = _mm512_set1_epi8(15);
  const __m512i nibbles = _mm512_permutex2var_epi32(first, words, last);
  return {_mm512_and_si512(nibbles, mask), _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), mask),
          halves_to_floats(_mm512_permutexvar_epi16(scales, first)),
          halves_to_floats(_mm512_permutexvar_epi16(offsets, first))};
}

/// `first` and `last` hold a group's bytes from its begin and from byte 8 on: blocks of nine 16-bit
/// words.
ONEBEAT_AVX512 inline NibbleWeights expand_q4_0(__m512i first, __m512i last) {
  // Words 1-8, 10-17, 19-26, 28-35; from word 32 on they are only in `last` (place word - 4).
  const __m512i words =
      _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 26, 25, 24, 23, 22, 21, 20, 19, 17, 16, 15,
                       14, 13, 12, 11, 10, 8, 7, 6, 5, 4, 3, 2, 1);
  // The last block is taken whole from `last`: its words 28 to 35 are there at 24 to 31.
  const __mmask32 from_last = 0xff000000u;
  const __m512i scales = _mm512_castsi256_si512(
      _mm256_setr_epi16(0, 0, 0, 0, 9, 9, 9, 9, 18, 18, 18, 18, 27, 27, 27, 27));
  const __m512i mask = _mm512_set1_epi8(15);
  const __m512i nibbles =
      _mm512_mask_permutexvar_epi16(_mm512_permutexvar_epi16(words, first), from_last, words, last);
  const __m512 scale = halves_to_floats(_mm512_permutexvar_epi16(scales, first));
  return {_mm512_and_si512(nibbles, mask), _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), mask),
          scale, _mm512_mul_ps(scale, _mm512_set1_ps(-8.0f))};
}

template <WeightType kType>
ONEBEAT_AVX512 inline NibbleWeights load_group(const std::byte* group) {
  const __m512i first = _mm512_loadu_si512(group);
  if constexpr (kType == WeightType::kQ4_1) {
    return expand_q4_1(first, _mm512_loadu_si512(group + 16));
  } else {
    return expand_q4_0(first, _mm512_loadu_si512(group + 8));
  }
}

/// The last `blocks` (1 to 3) blocks of a row.
template <WeightType kType>
ONEBEAT_AVX512 inline NibbleWeights load_partial_group(const std::byte* group,
                                                       std::int64_t blocks) {
  constexpr std::int64_t kSkip = kType == WeightType::kQ4_1 ? 16 : 8;
  const std::int64_t bytes = blocks * block_bytes(kType);  // at most 60
  const __mmask64 first = (~0ull) >> (64 - bytes);
  const __mmask64 last = first >> kSkip;
  const __m512i a = _mm512_maskz_loadu_epi8(first, group);
  const __m512i b = _mm512_maskz_loadu_epi8(last, group + kSkip);
  if constexpr (kType == WeightType::kQ4_1) {
    return expand_q4_1(a, b);
  } else {
    return expand_q4_0(a, b);
  }
}

/// Asks for weights that come later: the processor's own prefetching stops at every page of 4 KiB,
/// and few of its reads are under way at once. Reading ahead of the last row is harmless.
ONEBEAT_AVX512 inline void prefetch_ahead(const std::byte* weights) {
  constexpr std::int64_t kAhead = 2048;
  _mm_prefetch(reinterpret_cast<const char*>(weights + kAhead), _MM_HINT_T0);
  _mm_prefetch(reinterpret_cast<const char*>(weights + kAhead + 64), _MM_HINT_T0);
}

template <int kTokens>
struct Sums {
  __m512 products[kTokens];
  __m512 offsets[kTokens];
};

template <int kTokens>
ONEBEAT_AVX512 inline void accumulate(const NibbleWeights& weights, const std::byte* x,
                                      std::int64_t x_row_bytes, std::int64_t group,
                                      Sums<kTokens>& sums) {
  for (int t = 0; t < kTokens; ++t) {
    const NibbleGroup& a = reinterpret_cast<const NibbleGroup*>(x + t * x_row_bytes)[group];
    __m512i dot =
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights.low, _mm512_load_si512(a.low));
    dot = _mm512_dpbusd_epi32(dot, weights.high, _mm512_load_si512(a.high));
    const __m512 scale = _mm512_mul_ps(weights.scale, _mm512_load_ps(a.d));
    sums.products[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sums.products[t]);
    sums.offsets[t] = _mm512_fmadd_ps(weights.offset, _mm512_load_ps(a.s), sums.offsets[t]);
  }
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX512 inline void dot_nibble_row(const std::byte* row, std::int64_t blocks,
                                          const std::byte* x, std::int64_t x_row_bytes,
                                          float* out) {
  Sums<kTokens> sums;
  for (int t = 0; t < kTokens; ++t) sums.products[t] = sums.offsets[t] = _mm512_setzero_ps();
  const std::int64_t groups = blocks / kGroupBlocks;
  for (std::int64_t g = 0; g < groups; ++g, row += kGroupBlocks * block_bytes(kType)) {
    prefetch_ahead(row);
    accumulate<kTokens>(load_group<kType>(row), x, x_row_bytes, g, sums);
  }
  if (const std::int64_t rest = blocks % kGroupBlocks; rest != 0) {
    accumulate<kTokens>(load_partial_group<kType>(row, rest), x, x_row_bytes, groups, sums);
  }
  for (int t = 0; t < kTokens; ++t) {
    out[t] = _mm512_reduce_add_ps(_mm512_add_ps(sums.products[t], sums.offsets[t]));
  }
}

/// Two blocks of Q8_0 weights as unsigned bytes (w + 128), and their scales.
struct ByteWeights {
  __m512i bytes;
  __m512 scale;
};

ONEBEAT_AVX512 inline ByteWeights load_pair(const std::byte* pair) {
  const __m512i scales = _mm512_castsi256_si512(
      _mm256_setr_epi16(0, 0, 0, 0, 0, 0, 0, 0, 17, 17, 17, 17, 17, 17, 17, 17));
  const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pair + 2));
  const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pair + 36));
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  return {_mm512_xor_si512(both, _mm512_set1_epi8(-128)),
          halves_to_floats(_mm512_permutexvar_epi16(scales, _mm512_loadu_si512(pair)))};
}

ONEBEAT_AVX512 inline ByteWeights load_single(const std::byte* block) {
  const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 2));
  const __m512i both = _mm512_zextsi256_si512(first);
  const __m512 scale =
      _mm512_set1_ps(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(block)))));
  return {_mm512_xor_si512(both, _mm512_set1_epi8(-128)), _mm512_maskz_mov_ps(0x00ff, scale)};
}

template <int kTokens>
ONEBEAT_AVX512 inline void accumulate(const ByteWeights& weights, const std::byte* x,
                                      std::int64_t x_row_bytes, std::int64_t pair, __m512* sums) {
  for (int t = 0; t < kTokens; ++t) {
    const BytePair& a = reinterpret_cast<const BytePair*>(x + t * x_row_bytes)[pair];
    const __m512i dot =
        _mm512_dpbusd_epi32(_mm512_load_si512(a.offset), weights.bytes, _mm512_load_si512(a.q));
    const __m512 scale = _mm512_mul_ps(weights.scale, _mm512_load_ps(a.d));
    sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sums[t]);
  }
}

template <int kTokens>
ONEBEAT_AVX512 inline void dot_byte_row(const std::byte* row, std::int64_t blocks,
                                        const std::byte* x, std::int64_t x_row_bytes, float* out) {
  __m512 sums[kTokens];
  for (int t = 0; t < kTokens; ++t) sums[t] = _mm512_setzero_ps();
  const std::int64_t pairs = blocks / kPairBlocks;
  for (std::int64_t p = 0; p < pairs; ++p, row += kPairBlocks * block_bytes(WeightType::kQ8_0)) {
    prefetch_ahead(row);
    accumulate<kTokens>(load_pair(row), x, x_row_bytes, p, sums);
  }
  if (blocks % kPairBlocks != 0) accumulate<kTokens>(load_single(row), x, x_row_bytes, pairs, sums);
  for (int t = 0; t < kTokens; ++t) out[t] = _mm512_reduce_add_ps(sums[t]);
}

template <WeightType kType, int kTokens>
ONEBEAT_AVX512 void dot_tokens(const DotTask& task, const std::byte* x, std::int64_t x_row_bytes,
                               std::int64_t token) {
  const std::int64_t blocks = task.weight.cols / kQuantBlock;
  x += token * x_row_bytes;
  for (std::int64_t r = task.row_begin; r < task.row_end; ++r) {
    float sums[kTokens];
    if constexpr (kType == WeightType::kQ8_0) {
      dot_byte_row<kTokens>(task.weight.row(r), blocks, x, x_row_bytes, sums);
    } else {
      dot_nibble_row<kType, kTokens>(task.weight.row(r), blocks, x, x_row_bytes, sums);
    }
    for (int t = 0; t < kTokens; ++t) {
      float& out = task.out[(token + t) * task.out_stride + r];
      out = task.add ? out + sums[t] : sums[t];
    }
  }
}

template <WeightType kType>
void dot_all_tokens(const DotTask& task, const std::byte* x) {
  const std::int64_t x_row_bytes = quantized_row_bytes(kType, task.weight.cols);
  std::int64_t t = 0;
  for (; t + 8 <= task.tokens; t += 8) dot_tokens<kType, 8>(task, x, x_row_bytes, t);
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

template <int kTokens>
ONEBEAT_AVX512 inline void dot_f32_tokens(const DotTask& task, const float* row, const float* x,
                                          std::int64_t x_stride, std::int64_t token) {
  const std::int64_t cols = task.weight.cols;
  x += token * x_stride;
  __m512 sums[kTokens];
  for (int t = 0; t < kTokens; ++t) sums[t] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < cols; i += 16) {
    const __mmask16 mask = cols - i >= 16 ? static_cast<__mmask16>(0xffff)
                                          : static_cast<__mmask16>((1u << (cols - i)) - 1u);
    const __m512 w = _mm512_maskz_loadu_ps(mask, row + i);
    for (int t = 0; t < kTokens; ++t) {
      sums[t] = _mm512_fmadd_ps(w, _mm512_maskz_loadu_ps(mask, x + t * x_stride + i), sums[t]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    const float sum = _mm512_reduce_add_ps(sums[t]);
    float& out = task.out[(token + t) * task.out_stride + task.row_begin];
    out = task.add ? out + sum : sum;
  }
}

void dot_f32(const DotTask& task, const float* row, const float* x, std::int64_t x_stride) {
  std::int64_t t = 0;
  for (; t + 8 <= task.tokens; t += 8) dot_f32_tokens<8>(task, row, x, x_stride, t);
  for (; t + 4 <= task.tokens; t += 4) dot_f32_tokens<4>(task, row, x, x_stride, t);
  for (; t < task.tokens; ++t) dot_f32_tokens<1>(task, row, x, x_stride, t);
}

/// AVX2 expands rows as fast as they can be read.
void expand_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  kAvx2LinearKernels.expand_row(type, row, cols, out);
}

}  // namespace

const LinearKernels kAvx512VnniLinearKernels = {
    CpuIsa::kAvx512Vnni, quantized_row_bytes, quantize_row, dot_quantized,
    quantize_panel_row,  dot_panels,          expand_row,   dot_f32};

}  // namespace onebeat
#endif  // ONEBEAT_X86
