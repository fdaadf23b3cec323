// SPDX-License-Identifier: Apache-2.0
// One warp's arithmetic over one segment: scores, online softmax and output of up to 8 or 16 query
// rows, on mma.sync.
//
// Query rows are the M = 16 side of the products (rows of absent queries are zero): scores come out
// in the layout in which the second product takes them, so probabilities never leave registers. The
// D elements of a head may be summed in any order that q and K share, so both are read 16 bytes a
// thread instead of by ldmatrix.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/element.cuh"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/score_shape.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Compile-time shape of a variant. kTokens: of a granule, 16 or 32. kRows: query rows of one pass,
/// 8 or 16. kParts: 1, or 2 if pairs of neighbouring warps share tokens, each warp with one half of
/// a head's elements; they then add up their scores (head_parts.cuh).
template <typename Element_, int D_, int kTokens_, int kWarps_, int kStages_, int kRows_,
          bool kSmallPages_, int kParts_ = 1, RowFetch kFetch_ = RowFetch::kBlocks>
struct MmaShape {
  using Element = Element_;
  static constexpr int D = D_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kRows = kRows_;
  static constexpr bool kSmallPages = kSmallPages_;
  static constexpr bool kInvariant = false;  ///< See tree_nodes.cuh.
  using Pause = NoPause;
  static constexpr int kParts = kParts_;
  static_assert(kParts == 1 || (kParts == 2 && kWarps == 4));
  static constexpr int kPartDim = D / kParts;  ///< Elements of a head that a warp works on.
  static constexpr int kTokenWarps = kWarps / kParts;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTileTokens = kTokens * kTokenWarps;
  static constexpr int kTileShift = kTileTokens == 32    ? 5
                                    : kTileTokens == 64  ? 6
                                    : kTileTokens == 128 ? 7
                                                         : 8;
  static_assert(1 << kTileShift == kTileTokens);

  // Shared memory: rings, then where warps meet.
  using KvGranule = Granule<kPartDim, kTokens, Element::kKvBytes, kFetch_>;
  static constexpr int kStageBytes = 2 * KvGranule::kBytes;  // K, then V
  static constexpr int kRingBytes = kWarps * kStages * kStageBytes;
  static constexpr int kMeetBytes = kWarps * 8 * kPartDim * 4;  // 8 rows at a time
  static constexpr int kStatsBytes = kWarps * 8 * 8;
  static constexpr int kSharedBytes = kRingBytes + kMeetBytes + kStatsBytes + 16;
  static_assert(2 * (kSharedBytes + 1024) <= 228 * 1024, "two CTAs share a multiprocessor");
};

/// Query rows of one pass: their places, which tokens they see, and their values as an operand of
/// the score products. A thread has the values of rows lane / 4 and, with 16 rows, lane / 4 + 8.
template <typename S>
struct QueryRows {
  static constexpr int kHalves = S::kRows / 8;
  static constexpr int kMasks = 2;  ///< Rows whose scores a thread has.
  static constexpr bool kWidens = S::Element::kKvBytes == 1;
  /// 16 bytes of the cache are so many of a query row.
  static constexpr int kStep = kWidens ? 2 : 1;
  const uint4* source[kHalves];             ///< Null: no such row.
  std::uint32_t low[kMasks], high[kMasks];  ///< Each of them sees tokens [low, high).
  std::uint32_t all_low, all_high;          ///< Seen by every row of the unit.
  uint4 part[S::kPartDim / 32][kHalves];
  float factor[kMasks];  ///< fp8: what the products of the rows above are multiplied by.

  /// Everything that needs no memory.
  template <typename Walk>
  __device__ __forceinline__ void locate(const DecodeParams& p, const Walk& unit,
                                         std::uint32_t pass, int warp, int lane) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const std::uint32_t row = pass * S::kRows + half * 8 + lane / 4;
      const QueryRow<Walk> q(p, unit, min(row, unit.rows - 1));
      const bool live = row < unit.rows && q.index < p.num_query_tokens;
      source[half] = live ? reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(p.q) +
                                                           q.index * p.q_token_stride +
                                                           q.head * p.q_head_stride) +
                                (warp % S::kParts * (S::kPartDim / 8) + lane % 4 * kStep)
                          : nullptr;
    }
#pragma unroll
    for (int i = 0; i < kMasks; ++i) {
      const std::uint32_t row =
          pass * S::kRows + (kHalves == 2 ? i * 8 + lane / 4 : lane % 4 * 2 + i);
      const VisibleTokens seen(p, unit, QueryRow<Walk>(p, unit, min(row, unit.rows - 1)).token);
      low[i] = seen.low;
      high[i] = seen.high;
    }
    all_low = VisibleTokens(p, unit, unit.query_tokens - 1).low;
    all_high = VisibleTokens(p, unit, 0).high;
  }

  /// Takes the values.
  template <typename Walk>
  __device__ __forceinline__ void load(const DecodeParams& p, const Walk& unit, int lane) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
#pragma unroll
      for (int i = 0; i < S::kPartDim / 32; ++i)
        part[i][half] = source[half] != nullptr
                            ? __ldcg(source[half] + 4 * kStep * (i / kStep) + i % kStep)
                            : make_uint4(0, 0, 0, 0);
    if constexpr (kWidens) {
      const float scale = p.k_scales != nullptr ? p.k_scales[unit.kv_head] : 1.0f;
      float row_factor[kHalves];
#pragma unroll
      for (int half = 0; half < kHalves; ++half) row_factor[half] = to_f16(half) * scale;
#pragma unroll
      for (int i = 0; i < kMasks; ++i) {
        factor[i] = kHalves == 2 ? row_factor[i % kHalves]
                                 : __shfl_sync(~0u, row_factor[0], (lane % 4 * 2 + i) * 4);
      }
    }
  }

 private:
  /// bf16 values become fp16, multiplied by the power of two that brings the row's largest to 2^14
  /// or a little more: none overflows, and only those below 2^-28 of it lose bits, fewer than the
  /// sum would keep. Returns the inverse of that power.
  __device__ __forceinline__ float to_f16(int half) {
    std::uint32_t top = 0;
#pragma unroll
    for (int i = 0; i < S::kPartDim / 32; ++i) {
      const uint4 x = part[i][half];
      for (const std::uint32_t pair : {x.x, x.y, x.z, x.w}) top = __vmaxu2(top, pair & 0x7fff7fffu);
    }
    top = max(top & 0xffffu, top >> 16);
    top = max(top, __shfl_xor_sync(~0u, top, 1));
    top = max(top, __shfl_xor_sync(~0u, top, 2));
    const std::uint32_t exponent = max(top >> 7, 15u);  // biased by 127
    const float up = __uint_as_float((268 - exponent) << 23);
    const auto convert = [&](std::uint32_t& pair) {
      pair =
          ptx::pack_f16(__uint_as_float(pair << 16) * up, __uint_as_float(pair & 0xffff0000u) * up);
    };
#pragma unroll
    for (int i = 0; i < S::kPartDim / 32; ++i) {
      uint4& x = part[i][half];
      convert(x.x), convert(x.y), convert(x.z), convert(x.w);
    }
    return __uint_as_float((exponent - 14) << 23);
  }
};

/// Scores, online softmax and output of one pass over one segment.
template <typename S>
class MmaPass {
  static constexpr int D = S::kPartDim;
  static constexpr int kHalves = S::kRows / 8;
  static constexpr int kOctets = S::kTokens / 8;  ///< 8-token columns of a granule's scores
  using G = typename S::KvGranule;
  using E = typename S::Element;

 public:
  __device__ __forceinline__ MmaPass(const DecodeParams& p, int lane) : scale_(p), lane_(lane) {}

  __device__ __forceinline__ void reset() {
#pragma unroll
    for (int h = 0; h < kHalves; ++h) maximum_[h] = kMinusInfinity, sum_[h] = 0.0f;
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
      output_[n][0] = output_[n][1] = output_[n][2] = output_[n][3] = 0.0f;
  }

  /// scores_ = q * K^T for the granule at `k`.
  __device__ __forceinline__ void multiply_k(const QueryRows<S>& q,
                                             std::uint32_t k) requires(E::kKvBytes == 2) {
    constexpr bool kSplit =
        kOctets == 2;  // few columns: two sums each, for more independent products
    float odd[kOctets][4];
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores_[j][e] = odd[j][e] = 0.0f;
    const int token = lane_ / 4;
    const std::uint32_t base = k + token * G::kRowBytes;
    const int segment = (lane_ % 4) ^ G::k_swizzle(token);
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
      const uint4 low = q.part[i][0];
      const uint4 high = kHalves == 2 ? q.part[i][kHalves - 1] : make_uint4(0, 0, 0, 0);
      const std::uint32_t column = base + ((segment ^ (4 * i)) << 4);
#pragma unroll
      for (int j = 0; j < kOctets; ++j) {
        const uint4 b = ptx::load_shared_16(column + j * 8 * G::kRowBytes);
        E::mma(scores_[j], low.x, high.x, low.y, high.y, b.x, b.y);
        E::mma(kSplit ? odd[j] : scores_[j], low.z, high.z, low.w, high.w, b.z, b.w);
      }
    }
    if constexpr (kSplit) {
#pragma unroll
      for (int j = 0; j < kOctets; ++j)
#pragma unroll
        for (int e = 0; e < 2 * kHalves; ++e) scores_[j][e] += odd[j][e];
    }
  }

  /// The same of a cache of codes: 16 bytes are 16 elements, four products.
  __device__ __forceinline__ void multiply_k(const QueryRows<S>& q,
                                             std::uint32_t k) requires(E::kKvBytes == 1) {
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores_[j][e] = 0.0f;
    const int token = lane_ / 4;
    const std::uint32_t base = k + token * G::kRowBytes;
    const int segment = (lane_ % 4) ^ G::k_swizzle(token);
#pragma unroll
    for (int i = 0; i < D / 64; ++i) {
      const std::uint32_t column = base + ((segment ^ (4 * i)) << 4);
#pragma unroll
      for (int j = 0; j < kOctets; ++j) {
        const uint4 codes = ptx::load_shared_16(column + j * 8 * G::kRowBytes);
        const auto multiply = [&](std::uint32_t four, std::uint32_t low0, std::uint32_t high0,
                                  std::uint32_t low1, std::uint32_t high1) {
          std::uint32_t b0, b1;
          E::widen(four, b0, b1);
          E::mma(scores_[j], low0, high0, low1, high1, b0, b1);
        };
        const uint4 none = make_uint4(0, 0, 0, 0);
        const uint4 low = q.part[2 * i][0];
        const uint4 next_low = q.part[2 * i + 1][0];
        const uint4 high = kHalves == 2 ? q.part[2 * i][kHalves - 1] : none;
        const uint4 next_high = kHalves == 2 ? q.part[2 * i + 1][kHalves - 1] : none;
        multiply(codes.x, low.x, high.x, low.y, high.y);
        multiply(codes.y, low.z, high.z, low.w, high.w);
        multiply(codes.z, next_low.x, next_high.x, next_low.y, next_high.y);
        multiply(codes.w, next_low.z, next_high.z, next_low.w, next_high.w);
      }
    }
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int e = 0; e < 2 * kHalves; ++e) scores_[j][e] *= q.factor[e / 2];
  }

  /// Of a thread.
  __device__ __forceinline__ float (&scores())[kOctets][4] {
    return scores_;
  }

  /// Caps and masks the scores of the granule from `token` on.
  __device__ __forceinline__ void shape_scores(const QueryRows<S>& q, std::uint32_t token) {
    if (scale_.caps()) {
#pragma unroll
      for (int j = 0; j < kOctets; ++j)
#pragma unroll
        for (int e = 0; e < 2 * kHalves; ++e) {
          scores_[j][e] = scale_.capped(scores_[j][e]);
        }
    }
    if (token >= q.all_low && token + S::kTokens <= q.all_high) return;
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int e = 0; e < 2 * kHalves; ++e) {
        const std::uint32_t at = token + j * 8 + lane_ % 4 * 2 + e % 2;
        if (at < q.low[e / 2] || at >= q.high[e / 2]) scores_[j][e] = kMinusInfinity;
      }
  }

  /// Turns scores into probabilities relative to the new maximum; rescales the output if that rose.
  __device__ __forceinline__ void soften() {
    float factor[kHalves];
    bool rose = false;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      float top = fmaxf(scores_[0][2 * h], scores_[0][2 * h + 1]);
#pragma unroll
      for (int j = 1; j < kOctets; ++j)
        top = fmaxf(top, fmaxf(scores_[j][2 * h], scores_[j][2 * h + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      top = fmaxf(top * scale_.unit() - E::kHeadroom, maximum_[h]);
      rose |= top > maximum_[h];
      const float reference = top == kMinusInfinity ? 0.0f : top;
      factor[h] = ptx::exp2_fast(maximum_[h] - reference);
      maximum_[h] = top;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kOctets; ++j)
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          scores_[j][e] = ptx::exp2_fast(fmaf(scores_[j][e], scale_.unit(), -reference));
          sum += scores_[j][e];
        }
      sum_[h] = sum_[h] * factor[h] + sum;
    }
    if (!__any_sync(~0u, rose)) return;
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int e = 0; e < 2 * kHalves; ++e) output_[n][e] *= factor[e / 2];
  }

  /// output_ += probabilities * V for the granule at `v`.
  __device__ __forceinline__ void multiply_v(std::uint32_t v) {
    const int token = lane_ % 16;
    const std::uint32_t base = v + token * G::kRowBytes;
    const int segment = (lane_ / 16) ^ G::v_swizzle(token);
#pragma unroll
    for (int j = 0; j < kOctets; j += 2) {
      const auto pack = [](float low, float high) { return E::pack_weights(low, high); };
      const std::uint32_t a0 = pack(scores_[j][0], scores_[j][1]);
      const std::uint32_t a2 = pack(scores_[j + 1][0], scores_[j + 1][1]);
      const std::uint32_t a1 = kHalves == 2 ? pack(scores_[j][2], scores_[j][3]) : 0u;
      const std::uint32_t a3 = kHalves == 2 ? pack(scores_[j + 1][2], scores_[j + 1][3]) : 0u;
      if constexpr (E::kKvBytes == 1) {
        // Columns of a product: the even elements of a segment, then the odd ones.
#pragma unroll
        for (int n = 0; n < D / 16; n += 2) {
          std::uint32_t b[4], even[4], odd[4];
          ptx::load_matrices_transposed(b, base + ((segment ^ n) << 4) + j * 8 * G::kRowBytes);
#pragma unroll
          for (int i = 0; i < 4; ++i) E::widen_alternate(b[i], even[i], odd[i]);
          E::mma(output_[2 * n], a0, a1, a2, a3, even[0], even[1]);
          E::mma(output_[2 * n + 1], a0, a1, a2, a3, odd[0], odd[1]);
          E::mma(output_[2 * n + 2], a0, a1, a2, a3, even[2], even[3]);
          E::mma(output_[2 * n + 3], a0, a1, a2, a3, odd[2], odd[3]);
        }
      } else {
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
          std::uint32_t b[4];
          ptx::load_matrices_transposed(b, base + ((segment ^ n) << 4) + j * 8 * G::kRowBytes);
          E::mma(output_[n], a0, a1, a2, a3, b[0], b[1]);
          E::mma(output_[n + 1], a0, a1, a2, a3, b[2], b[3]);
        }
      }
    }
  }

  /// Where warps meet: writes 8 rows of output, and of maxima and sums.
  __device__ __forceinline__ void publish(int half, float* output, float2* stats) const {
    const int row = lane_ / 4;
    float sum = sum_[0];
    float maximum = maximum_[0];
    if constexpr (kHalves == 2) {
      if (half == 1) sum = sum_[1], maximum = maximum_[1];
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (lane_ % 4 == 0) stats[row] = make_float2(maximum, sum);
    if constexpr (E::kKvBytes == 1) {
#pragma unroll
      for (int n = 0; n < D / 16; ++n) {
        const float(&even)[4] = output_[2 * n];
        const float(&odd)[4] = output_[2 * n + 1];
        const int e = 2 * half;
        *reinterpret_cast<float4*>(output + row * D +
                                   ((16 * n + lane_ % 4 * 4) ^ meet_swizzle(row))) =
            make_float4(even[e], odd[e], even[e + 1], odd[e + 1]);
      }
    } else {
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        float2 pair = make_float2(output_[n][0], output_[n][1]);
        if constexpr (kHalves == 2) {
          if (half == 1) pair = make_float2(output_[n][2], output_[n][3]);
        }
        *reinterpret_cast<float2*>(output + row * D +
                                   ((8 * n + lane_ % 4 * 2) ^ meet_swizzle(row))) = pair;
      }
    }
  }

  /// Keeps the stores of publish() free of bank conflicts.
  __device__ static constexpr int meet_swizzle(int row) {
    return E::kKvBytes == 1 ? (row & 1) << 4 : (row & 3) << 3;
  }

 private:
  float scores_[kOctets][4];
  float output_[D / 8][4];
  float maximum_[kHalves], sum_[kHalves];  // base-2 units; this thread's part of the sum
  ScoreScale scale_;
  int lane_;
};

}  // namespace onebeat::cuda
