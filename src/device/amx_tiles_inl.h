// SPDX-License-Identifier: Apache-2.0
// What kernels on tiles share. The processor multiplies a tile of 16 rows x 32 numbers of bf16 with
// one of 32 x 16, whose numbers lie in pairs (2k, 2k + 1), and adds to a tile of 16 x 16 fp32. For
// files that are compiled for x86 only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define ONEBEAT_AMX \
  __attribute__((   \
      target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#define ONEBEAT_AMX_INLINE ONEBEAT_AMX __attribute__((always_inline)) inline

namespace onebeat {

inline constexpr int kTile = 16;  // Rows of a tile, and its columns of 4 bytes.
inline constexpr int kTileBytes = 1024;

// Of every tile: 16 rows of 64 bytes. 0 to 3 are sums, 4 and 5 first factors, 6 and 7 second ones.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr TileConfig kTileConfig;

// The upper 16 bits of two vectors, as pairs: `low` in the lower halves.
ONEBEAT_AMX_INLINE __m512i upper_halves(__m512 low, __m512 high) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(low), 16),
                         _mm512_and_si512(_mm512_castps_si512(high), mask));
}

// The upper 16 bits of 16 + 16 numbers, in their order.
ONEBEAT_AMX_INLINE __m512i upper_halves_in_order(__m512 first, __m512 last) {
  const __m512i places =
      _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                       25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16(_mm512_castps_si512(first), places, _mm512_castps_si512(last));
}

// The nearest number with nothing but zeros in its lower 16 bits (as an fp32 number).
ONEBEAT_AMX_INLINE __m512 rounded(__m512 x) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper));
}

// Transposes 16 x 16 numbers of 4 bytes.
ONEBEAT_AMX_INLINE void transpose(__m512i (&x)[16], std::byte* to) {
  __m512i y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(to + i * 64, _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88));
    _mm512_storeu_si512(to + (i + 4) * 64, _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88));
    _mm512_storeu_si512(to + (i + 8) * 64, _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd));
    _mm512_storeu_si512(to + (i + 12) * 64, _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xdd));
  }
}

}  // namespace onebeat
