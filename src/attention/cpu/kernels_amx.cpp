// SPDX-License-Identifier: Apache-2.0
// Both products of attention on tiles of bf16 with sums in fp32.
//
// scores^T = K q^T: 16 tokens of the cache are the first factor as they lie in memory; queries are
// arranged once per query tile. A column of the result is a query row, so maxima and sums need no
// work across lanes. Then p becomes the first factor and V the second, whose pairs are those of two
// tokens.
//
// Numbers that are not bf16 (q, p, an fp16 cache) are two of them, the upper bits and what is left;
// of the four products the smallest is left out. So the results have 16 bits of precision.
#include "attention/cpu/kernels_amx.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "device/amx_tiles_inl.h"

namespace onebeat::cpu {
namespace {

constexpr int kDims = 32;  // Numbers of a tile's row.
constexpr int kBlocks = kStepTokens / kTile;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Two vectors as pairs of bf16, `low` in the lower halves: the nearest, and what is left of it.
ONEBEAT_AMX_INLINE void split(__m512 low, __m512 high, __m512i& upper, __m512i& rest) {
  const __m512 upper_low = rounded(low);
  const __m512 upper_high = rounded(high);
  upper = upper_halves(upper_low, upper_high);
  rest = upper_halves(rounded(_mm512_sub_ps(low, upper_low)),
                      rounded(_mm512_sub_ps(high, upper_high)));
}

// 2^x for x <= 0; 0 for what is too small, -inf included; NaN stays.
ONEBEAT_AMX_INLINE __m512 exp2_of(__m512 x) {
  const __m512 clamped = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);
  const __m512 whole = _mm512_roundscale_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(clamped, whole);
  __m512 p = _mm512_set1_ps(1.535336220e-4f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.339887442e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.618437357e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550332471e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402264791e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931472029e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, whole);
}

ONEBEAT_AMX_INLINE __m512 tanh_of(__m512 x) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 size = _mm512_andnot_ps(sign, x);
  const __m512 e = exp2_of(_mm512_mul_ps(size, _mm512_set1_ps(-2.0f * 1.44269504089f)));
  const __m512 t = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
  return _mm512_or_ps(t, _mm512_and_ps(sign, x));
}

// 32 numbers of a cache, as bf16 in their order; of fp16 also what bf16 has no room for.
struct Split {
  __m512i upper;
  __m512i rest;
};

ONEBEAT_AMX_INLINE Split split_f16(const std::uint16_t* from) {
  const __m512 a = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  const __m512 b = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 16)));
  const __m512 upper_a = rounded(a);
  const __m512 upper_b = rounded(b);
  // fp16 has so few digits that what is left is exact.
  return {upper_halves_in_order(upper_a, upper_b),
          upper_halves_in_order(_mm512_sub_ps(a, upper_a), _mm512_sub_ps(b, upper_b))};
}

// Lines of the next step's rows, from a core's memory requests the pace of their use.
ONEBEAT_AMX_INLINE void fetch(const void* base, std::int64_t offset, int elements) {
  const char* at = reinterpret_cast<const char*>(static_cast<const std::uint16_t*>(base) + offset);
  for (int line = 0; line < elements * 2; line += 64) __builtin_prefetch(at + line, 0, 2);
}

// The keys of a step as first factors: 16 rows at a time as they lie in the cache, or arranged in
// working memory.
struct KeyRows {
  const std::uint16_t* data[kBlocks];
  std::int64_t stride_bytes[kBlocks];
  std::int64_t rest = 0;  // Elements from a row to what is left of it; 0: nothing is.
};

ONEBEAT_AMX bool have_one_distance(const std::int64_t* offsets) {
  const std::int64_t stride = offsets[1] - offsets[0];
  std::int64_t difference = 0;
  for (int i = 2; i < kTile; ++i) difference |= offsets[i] - offsets[i - 1] - stride;
  return difference == 0;
}

template <bool kF16>
ONEBEAT_AMX KeyRows arrange_keys(const StepInput& in, std::uint16_t* room) {
  const auto* base = static_cast<const std::uint16_t*>(in.k);
  const std::int64_t dim = in.dim;
  KeyRows rows;
  if (kF16) rows.rest = kStepTokens * dim;
  const int blocks = (in.tokens + kTile - 1) / kTile;
  for (int block = 0; block < blocks; ++block) {
    const int first = block * kTile;
    const std::int64_t* offsets = in.k_offsets + first;
    if (!kF16 && first + kTile <= in.tokens && have_one_distance(offsets)) {
      rows.data[block] = base + offsets[0];
      rows.stride_bytes[block] = (offsets[1] - offsets[0]) * 2;
      continue;
    }
    rows.data[block] = room + first * dim;
    rows.stride_bytes[block] = dim * 2;
    for (int i = 0; i < kTile; ++i) {
      std::uint16_t* to = room + (first + i) * dim;
      for (std::int64_t at = 0; at < dim; at += kDims) {
        Split keys = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        if (first + i < in.tokens) {
          const std::uint16_t* from = base + offsets[i] + at;
          if (kF16) {
            keys = split_f16(from);
          } else {
            keys.upper = _mm512_loadu_si512(from);
          }
        }
        _mm512_storeu_si512(to + at, keys.upper);
        if (kF16) _mm512_storeu_si512(to + rows.rest + at, keys.rest);
      }
    }
  }
  return rows;
}

// V as second factors: tile (half of the step, block of 32 columns, part) is 16 pairs of tokens.
// Of 32 columns, part 0 has the first four of every eight, part 1 the others, as the processor's
// interleaving leaves them; with fp16, parts 2 and 3 are what is left of these.
template <bool kF16>
ONEBEAT_AMX void arrange_values(const StepInput& in, std::byte* to) {
  constexpr int kParts = kF16 ? 4 : 2;
  const auto* base = static_cast<const std::uint16_t*>(in.v);
  const int blocks = in.dim_v / kDims;
  for (int t = 0; t < kStepTokens; t += 2) {
    for (int i = t; i < t + 2 && i < in.next_tokens; ++i) {
      fetch(in.v, in.next_v_offsets[i], in.dim_v);
      fetch(in.k, in.next_k_offsets[i], in.dim);
    }
    std::byte* row = to + static_cast<std::int64_t>(t / 32) * blocks * kParts * kTileBytes +
                     static_cast<std::int64_t>(t % 32 / 2) * 64;
    for (int block = 0; block < blocks; ++block, row += kParts * kTileBytes) {
      Split values[2];
      for (int i = 0; i < 2; ++i) {
        values[i] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        if (t + i >= in.tokens) continue;
        const std::uint16_t* from = base + in.v_offsets[t + i] + block * kDims;
        if (kF16) {
          values[i] = split_f16(from);
        } else {
          values[i].upper = _mm512_loadu_si512(from);
        }
      }
      _mm512_storeu_si512(row, _mm512_unpacklo_epi16(values[0].upper, values[1].upper));
      _mm512_storeu_si512(row + kTileBytes,
                          _mm512_unpackhi_epi16(values[0].upper, values[1].upper));
      if (!kF16) continue;
      _mm512_storeu_si512(row + 2 * kTileBytes,
                          _mm512_unpacklo_epi16(values[0].rest, values[1].rest));
      _mm512_storeu_si512(row + 3 * kTileBytes,
                          _mm512_unpackhi_epi16(values[0].rest, values[1].rest));
    }
  }
}

// scores[token][row] of 16 query rows.
template <bool kF16>
ONEBEAT_AMX void score_rows(const StepInput& in, const KeyRows& keys, const std::byte* queries,
                            float* scores) {
  const int blocks = (in.tokens + kTile - 1) / kTile;
  for (int block = 0; block < blocks; block += 2) {
    const bool both = block + 1 < blocks;
    const std::uint16_t* a = keys.data[block];
    const std::int64_t a_stride = keys.stride_bytes[block];
    const std::uint16_t* b = both ? keys.data[block + 1] : a;
    const std::int64_t b_stride = both ? keys.stride_bytes[block + 1] : a_stride;
    _tile_zero(0);
    _tile_zero(1);
    for (int at = 0; at < in.dim; at += kDims) {
      const std::byte* pair = queries + static_cast<std::int64_t>(at / kDims) * 2 * kTileBytes;
      _tile_loadd(6, pair, 64);
      _tile_loadd(7, pair + kTileBytes, 64);
      _tile_loadd(4, a + at, a_stride);
      _tile_loadd(5, b + at, b_stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 5, 6);
      _tile_dpbf16ps(0, 4, 7);
      _tile_dpbf16ps(1, 5, 7);
      if (!kF16) continue;
      _tile_loadd(4, a + keys.rest + at, a_stride);
      _tile_loadd(5, b + keys.rest + at, b_stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 5, 6);
    }
    float* out = scores + static_cast<std::int64_t>(block) * kTile * 16;
    _tile_stored(0, out, 64);
    if (both) _tile_stored(1, out + kTile * 16, 64);
  }
}

// Scores of 16 rows become weights relative to the rows' new maxima; `factors` is for what came
// before. A lane is a row.
ONEBEAT_AMX void weigh_rows(const StepInput& in, int first_row, float* scores, float* factors) {
  const int rows = in.rows - first_row < kTile ? in.rows - first_row : kTile;
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  const __m512i begin = _mm512_maskz_loadu_epi32(lanes, in.visible_begin + first_row);
  const __m512i end = _mm512_min_epi32(_mm512_maskz_loadu_epi32(lanes, in.visible_end + first_row),
                                       _mm512_set1_epi32(in.tokens));
  const __m512 minus_infinity = _mm512_set1_ps(kMinusInfinity);
  const __m512 old_maximum =
      _mm512_mask_loadu_ps(minus_infinity, lanes, in.partials.maxima + first_row);
  __m512 maximum = old_maximum;
  for (int t = 0; t < kStepTokens; ++t) {
    __m512 s = _mm512_load_ps(scores + t * 16);
    if (in.cap != 0.0f) s = _mm512_mul_ps(_mm512_set1_ps(in.cap), tanh_of(s));
    const __m512i index = _mm512_set1_epi32(t);
    const __mmask16 visible =
        _mm512_cmpge_epi32_mask(index, begin) & _mm512_cmplt_epi32_mask(index, end);
    s = _mm512_mask_blend_ps(visible, minus_infinity, s);
    maximum = _mm512_max_ps(maximum, s);
    _mm512_store_ps(scores + t * 16, s);
  }
  // A row that has seen nothing yet must not compute inf - inf.
  const __mmask16 none = _mm512_cmp_ps_mask(maximum, minus_infinity, _CMP_EQ_OQ);
  const __m512 reference = _mm512_mask_blend_ps(none, maximum, _mm512_setzero_ps());
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int t = 0; t < kStepTokens; t += 2) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      float* at = scores + (t + i) * 16;
      const __m512 p = exp2_of(_mm512_sub_ps(_mm512_load_ps(at), reference));
      sums[i] = _mm512_add_ps(sums[i], p);
      _mm512_store_ps(at, p);
    }
  }
  const __m512 factor = exp2_of(_mm512_sub_ps(old_maximum, reference));
  float* total = in.partials.sums + first_row;
  _mm512_mask_storeu_ps(total, lanes,
                        _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, total), factor,
                                        _mm512_add_ps(sums[0], sums[1])));
  _mm512_mask_storeu_ps(in.partials.maxima + first_row, lanes, maximum);
  _mm512_store_ps(factors, factor);
}

// weights[token][16 rows] as first factors: for each half of the step the upper bits, then what is
// left of them.
ONEBEAT_AMX void arrange_weights(const float* weights, std::byte* to) {
  for (int half = 0; half < 2; ++half, to += 2 * kTileBytes) {
    __m512i upper[16], rest[16];
#pragma GCC unroll 16
    for (int pair = 0; pair < 16; ++pair) {
      const float* at = weights + (half * 32 + pair * 2) * 16;
      const __m512 a = _mm512_load_ps(at);
      const __m512 b = _mm512_load_ps(at + 16);
      split(a, b, upper[pair], rest[pair]);
    }
    transpose(upper, to);
    transpose(rest, to + kTileBytes);
  }
}

// outputs = outputs * factor + sums, for 32 columns of 16 rows.
ONEBEAT_AMX void add_sums(const StepInput& in, int first_row, int at, const float* factors,
                          const float* part0, const float* part1) {
  const __m512i first_of = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
  const __m512i last_of =
      _mm512_set_epi32(31, 30, 29, 28, 15, 14, 13, 12, 27, 26, 25, 24, 11, 10, 9, 8);
  const int rows = in.rows - first_row < kTile ? in.rows - first_row : kTile;
  for (int r = 0; r < rows; ++r) {
    float* out = in.partials.outputs + (first_row + r) * in.partials.output_stride + at;
    const __m512 factor = _mm512_set1_ps(factors[r]);
    const __m512 x = _mm512_load_ps(part0 + r * 16);
    const __m512 y = _mm512_load_ps(part1 + r * 16);
    const __m512 a = _mm512_permutex2var_ps(x, first_of, y);
    const __m512 b = _mm512_permutex2var_ps(x, last_of, y);
    _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_loadu_ps(out), factor, a));
    _mm512_storeu_ps(out + 16, _mm512_fmadd_ps(_mm512_loadu_ps(out + 16), factor, b));
  }
}

template <bool kF16>
ONEBEAT_AMX void output_rows(const StepInput& in, int first_row, const std::byte* weights,
                             const std::byte* values, const float* factors) {
  constexpr std::int64_t kBlockBytes = (kF16 ? 4 : 2) * kTileBytes;
  alignas(64) float sums[2][256];
  const int blocks = in.dim_v / kDims;
  const int halves = in.tokens > kStepTokens / 2 ? 2 : 1;
  for (int block = 0; block < blocks; ++block) {
    _tile_zero(0);
    _tile_zero(1);
    for (int half = 0; half < halves; ++half) {
      const std::byte* w = weights + half * 2 * kTileBytes;
      const std::byte* v = values + (half * blocks + block) * kBlockBytes;
      _tile_loadd(4, w, 64);
      _tile_loadd(5, w + kTileBytes, 64);
      _tile_loadd(6, v, 64);
      _tile_loadd(7, v + kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(0, 5, 6);
      _tile_dpbf16ps(1, 5, 7);
      if (!kF16) continue;
      _tile_loadd(6, v + 2 * kTileBytes, 64);
      _tile_loadd(7, v + 3 * kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    add_sums(in, first_row, block * kDims, factors, sums[0], sums[1]);
  }
}

template <bool kF16>
ONEBEAT_AMX void attend(const StepInput& in) {
  alignas(64) float scores[kStepTokens * kTile];
  alignas(64) std::byte weights[4 * kTileBytes];
  alignas(64) float factors[kTile];
  auto* values = static_cast<std::byte*>(in.tiles.values);
  arrange_values<kF16>(in, values);
  const KeyRows keys = arrange_keys<kF16>(in, static_cast<std::uint16_t*>(in.tiles.keys));
  const auto* queries = static_cast<const std::byte*>(in.tiles.queries);
  const std::int64_t query_bytes = std::int64_t{in.dim / kDims} * 2 * kTileBytes;
  _tile_loadconfig(&kTileConfig);
  for (int row = 0; row < in.rows; row += kTile, queries += query_bytes) {
    score_rows<kF16>(in, keys, queries, scores);
    weigh_rows(in, row, scores, factors);
    arrange_weights(scores, weights);
    output_rows<kF16>(in, row, weights, values, factors);
  }
  _tile_release();
}

}  // namespace

// For each 16 rows and each 32 columns two tiles, the upper bits and what is left of them: row i
// has columns 2i and 2i + 1 of all 16 query rows.
ONEBEAT_AMX void amx_arrange_queries(const float* q, std::int32_t rows, std::int32_t dim,
                                     void* to) {
  const __m512i even_of =
      _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd_of =
      _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  const std::int64_t stride = padded(dim);
  auto* tile = static_cast<std::byte*>(to);
  for (int first = 0; first < rows; first += kTile) {
    for (int at = 0; at < dim; at += kDims, tile += 2 * kTileBytes) {
      __m512i upper[16], rest[16];
      for (int i = 0; i < kTile; ++i) {
        upper[i] = rest[i] = _mm512_setzero_si512();
        if (first + i >= rows) continue;
        const float* from = q + (first + i) * stride + at;
        const __m512 a = _mm512_loadu_ps(from);
        const __m512 b = _mm512_loadu_ps(from + 16);
        const __m512 even = _mm512_permutex2var_ps(a, even_of, b);
        const __m512 odd = _mm512_permutex2var_ps(a, odd_of, b);
        split(even, odd, upper[i], rest[i]);
      }
      transpose(upper, tile);
      transpose(rest, tile + kTileBytes);
    }
  }
}

void amx_attend_f16(const StepInput& in) {
  attend<true>(in);
}
void amx_attend_bf16(const StepInput& in) {
  attend<false>(in);
}

}  // namespace onebeat::cpu

#else

namespace onebeat::cpu {

void amx_arrange_queries(const float*, std::int32_t, std::int32_t, void*) {}
void amx_attend_f16(const StepInput&) {}
void amx_attend_bf16(const StepInput&) {}

}  // namespace onebeat::cpu
#endif
