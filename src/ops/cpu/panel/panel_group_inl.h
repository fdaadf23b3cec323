// SPDX-License-Identifier: Apache-2.0
// Reads repacked weights into registers of AVX-512. For files that are compiled for x86 only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/cpu/isa.h"
#include "ops/cpu/panel/panel_layout.h"

#define ONEBEAT_AVX512 ONEBEAT_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")

namespace onebeat {

/// 32 columns of 16 rows, expanded.
struct GroupWeights {
  __m512i columns[8];  ///< Unsigned bytes; vector v has columns 4v to 4v + 3.
  __m512 scale[2];     ///< Of the first and of the last 16 columns; the same except for kQ6_K.
  __m512 offset;
};

ONEBEAT_AVX512 inline __m512 load_halves(const std::byte* halves) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}
ONEBEAT_AVX512 inline __m512 load_unsigned_bytes(const std::byte* bytes) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
}
ONEBEAT_AVX512 inline __m512 load_signed_bytes(const std::byte* bytes) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
}
inline __mmask64 load_mask(const std::byte* bytes) {
  std::uint64_t mask;
  std::memcpy(&mask, bytes, sizeof(mask));
  return mask;
}

template <WeightType kType>
ONEBEAT_AVX512 inline void load_numbers(const std::byte* head, const std::byte* numbers,
                                        GroupWeights& weights) {
  if constexpr (kType == WeightType::kQ6_K) {
    const __m512 d = load_halves(head);
    weights.scale[0] = _mm512_mul_ps(d, load_signed_bytes(numbers));
    weights.scale[1] = _mm512_mul_ps(d, load_signed_bytes(numbers + 16));
  } else if constexpr (kType == WeightType::kQ4_K || kType == WeightType::kQ5_K) {
    weights.scale[0] = _mm512_mul_ps(load_halves(head), load_unsigned_bytes(numbers));
    weights.offset =
        _mm512_xor_ps(_mm512_mul_ps(load_halves(head + 32), load_unsigned_bytes(numbers + 16)),
                      _mm512_set1_ps(-0.0f));
  } else {
    weights.scale[0] = load_halves(numbers);
    if constexpr (panel_has_offset(kType)) weights.offset = load_halves(numbers + 32);
  }
}

template <WeightType kType>
ONEBEAT_AVX512 inline GroupWeights load_group(const std::byte* group, const std::byte* head) {
  constexpr PanelShape kShape = panel_shape(kType);
  GroupWeights weights;
  if constexpr (kShape.integer_bytes == 512) {
    for (int v = 0; v < 8; ++v) weights.columns[v] = _mm512_loadu_si512(group + 64 * v);
  } else {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int v = 0; v < 4; ++v) {
      const __m512i both = _mm512_loadu_si512(group + 64 * v);
      weights.columns[v] = _mm512_and_si512(both, mask);
      weights.columns[v + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
    }
  }
  for (int bit = 0; bit < kShape.extra_bits; ++bit) {
    const std::byte* masks = group + kShape.integer_bytes + 64 * bit;
    const __m512i value = _mm512_set1_epi8(static_cast<char>(16 << bit));
    for (int v = 0; v < 8; ++v) {
      weights.columns[v] = _mm512_mask_add_epi8(weights.columns[v], load_mask(masks + 8 * v),
                                                weights.columns[v], value);
    }
  }
  load_numbers<kType>(head, group + kShape.integer_bytes + 64 * kShape.extra_bits, weights);
  return weights;
}

}  // namespace onebeat
