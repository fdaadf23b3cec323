// SPDX-License-Identifier: Apache-2.0
// Weights become the second factors of tile products: row j of a tile has columns 2j and 2j + 1 of
// 16 rows of weights, as bf16.
#include "ops/cpu/isa.h"
#include "ops/cpu/tile/tile_product.h"

#if ONEBEAT_X86
#include <algorithm>
#include <type_traits>

#include "device/amx_tiles_inl.h"
#include "ops/cpu/panel/panel_group_inl.h"

namespace onebeat {
namespace {

/// Bytes between what is read and what is asked for; panel_avx512.cpp says why.
constexpr std::int64_t kAhead = 4096;

/// An unsigned byte of each lane as a number: 256 + q has a step of 1 at bit 15 of an fp32 number.
constexpr float kRaised = 256;

template <int kByte>
ONEBEAT_AMX_INLINE __m512 raised_byte(__m512i words) {
  if constexpr (kByte < 2) words = _mm512_slli_epi32(words, 15 - 8 * kByte);
  if constexpr (kByte >= 2) words = _mm512_srli_epi32(words, 8 * kByte - 15);
  // (words & the place of the byte) | the exponent
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(words, _mm512_set1_epi32(0x007f8000),
                                                       _mm512_set1_epi32(0x43800000), 0xea));
}

/// Two numbers of each lane as a pair of bf16, to nearest.
ONEBEAT_AMX_INLINE __m512i pair_of(__m512 low, __m512 high) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i a = _mm512_add_epi32(_mm512_castps_si512(low), half);
  const __m512i b = _mm512_add_epi32(_mm512_castps_si512(high), half);
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(a, 16), b);
}

template <WeightType kType>
ONEBEAT_AMX void expand_panel(const std::byte* panel, std::int64_t first, std::int64_t count,
                              std::byte* to) {
  constexpr PanelShape kShape = panel_shape(kType);
  for (std::int64_t g = first; g < first + count; ++g, to += kBytesOfTile) {
    const std::byte* group = panel + kShape.group_place(g);
    for (std::int64_t line = 0; line < kShape.group_bytes(); line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(group + kAhead + line), _MM_HINT_T0);
    }
    const GroupWeights weights = load_group<kType>(group, panel + kShape.head_place(g));
    const __m512 raise = _mm512_set1_ps(kRaised + static_cast<float>(panel_centre(kType)));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512 scale = weights.scale[kType == WeightType::kQ6_K ? half : 0];
      const __m512 base = panel_has_offset(kType)
                              ? _mm512_fnmadd_ps(scale, raise, weights.offset)
                              : _mm512_fnmadd_ps(scale, raise, _mm512_setzero_ps());
#pragma GCC unroll 4
      for (int v = 4 * half; v < 4 * half + 4; ++v) {
        const __m512i words = weights.columns[v];
        const __m512 w0 = _mm512_fmadd_ps(raised_byte<0>(words), scale, base);
        const __m512 w1 = _mm512_fmadd_ps(raised_byte<1>(words), scale, base);
        const __m512 w2 = _mm512_fmadd_ps(raised_byte<2>(words), scale, base);
        const __m512 w3 = _mm512_fmadd_ps(raised_byte<3>(words), scale, base);
        _mm512_store_si512(to + 128 * v, pair_of(w0, w1));
        _mm512_store_si512(to + 128 * v + 64, pair_of(w2, w3));
      }
    }
  }
}

/// 16 of `count` unquantised numbers from `at` on as fp32, zeros behind them.
template <WeightType kType>
ONEBEAT_AMX_INLINE __m512 load_numbers(const std::byte* at, std::int64_t count) {
  const auto lanes = static_cast<__mmask16>((1u << std::clamp<std::int64_t>(count, 0, 16)) - 1);
  if constexpr (kType == WeightType::kF32) {
    return _mm512_maskz_loadu_ps(lanes, at);
  } else if constexpr (kType == WeightType::kF16) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, at));
  } else {
    const __m256i halves = _mm256_maskz_loadu_epi16(lanes, at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
}

template <WeightType kType>
ONEBEAT_AMX void expand_rows(const WeightView& weight, std::int64_t row, std::int64_t first,
                             std::int64_t count, std::byte* to) {
  constexpr std::int64_t kSize = block_bytes(kType);
  const std::int64_t rows = std::min<std::int64_t>(kTile, weight.rows - row);
  for (std::int64_t tile = first; tile < first + count; ++tile, to += kBytesOfTile) {
    __m512i nearest[kTile], rest[kTile];
    const std::int64_t col = tile * kTileColumns;
    for (std::int64_t r = 0; r < kTile; ++r) {
      nearest[r] = rest[r] = _mm512_setzero_si512();
      if (r >= rows) continue;
      const std::byte* at = weight.row(row + r) + col * kSize;
      const __m512 a = load_numbers<kType>(at, weight.cols - col);
      const __m512 b = load_numbers<kType>(at + 16 * kSize, weight.cols - col - 16);
      const __m512 nearest_a = rounded(a);
      const __m512 nearest_b = rounded(b);
      nearest[r] = upper_halves_in_order(nearest_a, nearest_b);
      if constexpr (parts_of_weight(kType) == 2) {
        rest[r] = upper_halves_in_order(rounded(_mm512_sub_ps(a, nearest_a)),
                                        rounded(_mm512_sub_ps(b, nearest_b)));
      }
    }
    transpose(nearest, to);
    if constexpr (parts_of_weight(kType) == 2) transpose(rest, to + count * kBytesOfTile);
  }
}

}  // namespace

void expand_tiles(const WeightView& weight, std::int64_t row, std::int64_t first,
                  std::int64_t count, std::byte* to) {
  switch (weight.type) {
    case WeightType::kF32:
      return expand_rows<WeightType::kF32>(weight, row, first, count, to);
    case WeightType::kF16:
      return expand_rows<WeightType::kF16>(weight, row, first, count, to);
    case WeightType::kBF16:
      return expand_rows<WeightType::kBF16>(weight, row, first, count, to);
    default:
      break;
  }
  const std::byte* panel = weight.bytes + row / kPanelRows * panel_bytes(weight.type, weight.cols);
  for_panel_type(weight.type,
                 [&](auto type) { expand_panel<decltype(type)::kType>(panel, first, count, to); });
}

}  // namespace onebeat
#endif  // ONEBEAT_X86
