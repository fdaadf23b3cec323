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
/// 8 or 16.
template <typename Element_, int D_, int kTokens_, int kWarps_, int kStages_, int kRows_,
          bool kSmallPages_>
struct MmaShape {
  using Element = Element_;
  static constexpr int D = D_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kRows = kRows_;
  static constexpr bool kSmallPages = kSmallPages_;
  using Pause = NoPause;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTileTokens = kTokens * kWarps;
  static constexpr int kTileShift = kTileTokens == 32    ? 5
                                    : kTileTokens == 64  ? 6
                                    : kTileTokens == 128 ? 7
                                                         : 8;
  static_assert(1 << kTileShift == kTileTokens);

  // Shared memory: rings, then where warps meet.
  using KvGranule = Granule<D, kTokens, Element::kKvBytes>;
  static constexpr int kStageBytes = 2 * KvGranule::kBytes;  // K, then V
  static constexpr int kRingBytes = kWarps * kStages * kStageBytes;
  static constexpr int kMeetBytes = kWarps * 8 * D * 4;  // 8 rows at a time
  static constexpr int kStatsBytes = kWarps * 8 * 8;
  static constexpr int kSharedBytes = kRingBytes + kMeetBytes + kStatsBytes + 16;
  static_assert(2 * (kSharedBytes + 1024) <= 228 * 1024, "two CTAs share a multiprocessor");
};

/// Query rows of one pass: their places, which tokens they see, and their values as an operand of
/// the score products. A thread has the values of rows lane / 4 and, with 16 rows, lane / 4 + 8.
template <typename S>
struct QueryRows {
  static constexpr int kHalves = S::kRows / 8;
  static constexpr int kMasks = 2;          ///< Rows whose scores a thread has.
  const uint4* source[kHalves];             ///< Null: no such row.
  std::uint32_t low[kMasks], high[kMasks];  ///< Each of them sees tokens [low, high).
  std::uint32_t all_low, all_high;          ///< Seen by every row of the unit.
  uint4 part[S::D / 32][kHalves];

  /// Everything that needs no memory.
  template <typename Walk>
  __device__ __forceinline__ void locate(const DecodeParams& p, const Walk& unit,
                                         std::uint32_t pass, int lane) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const std::uint32_t row = pass * S::kRows + half * 8 + lane / 4;
      const QueryRow<Walk> q(p, unit, min(row, unit.rows - 1));
      const bool live = row < unit.rows && q.index < p.num_query_tokens;
      source[half] = live ? reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(p.q) +
                                                           q.index * p.q_token_stride +
                                                           q.head * p.q_head_stride) +
                                lane % 4
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
  __device__ __forceinline__ void load() {
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
#pragma unroll
      for (int i = 0; i < S::D / 32; ++i)
        part[i][half] =
            source[half] != nullptr ? __ldcg(source[half] + 4 * i) : make_uint4(0, 0, 0, 0);
  }
};

/// Scores, online softmax and output of one pass over one segment.
template <typename S>
class MmaPass {
  static constexpr int D = S::D;
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
  __device__ __forceinline__ void multiply_k(const QueryRows<S>& q, std::uint32_t k) {
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
      top = fmaxf(top * scale_.unit(), maximum_[h]);
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
      const std::uint32_t a0 = E::pack(scores_[j][0], scores_[j][1]);
      const std::uint32_t a2 = E::pack(scores_[j + 1][0], scores_[j + 1][1]);
      const std::uint32_t a1 = kHalves == 2 ? E::pack(scores_[j][2], scores_[j][3]) : 0u;
      const std::uint32_t a3 = kHalves == 2 ? E::pack(scores_[j + 1][2], scores_[j + 1][3]) : 0u;
#pragma unroll
      for (int n = 0; n < D / 8; n += 2) {
        std::uint32_t b[4];
        ptx::load_matrices_transposed(b, base + ((segment ^ n) << 4) + j * 8 * G::kRowBytes);
        E::mma(output_[n], a0, a1, a2, a3, b[0], b[1]);
        E::mma(output_[n + 1], a0, a1, a2, a3, b[2], b[3]);
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
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      float2 pair = make_float2(output_[n][0], output_[n][1]);
      if constexpr (kHalves == 2) {
        if (half == 1) pair = make_float2(output_[n][2], output_[n][3]);
      }
      *reinterpret_cast<float2*>(output + row * D + ((8 * n + lane_ % 4 * 2) ^ meet_swizzle(row))) =
          pair;
    }
  }

  /// Keeps the stores of publish() free of bank conflicts.
  __device__ static constexpr int meet_swizzle(int row) {
    return (row & 3) << 3;
  }

 private:
  float scores_[kOctets][4];
  float output_[D / 8][4];
  float maximum_[kHalves], sum_[kHalves];  // base-2 units; this thread's part of the sum
  ScoreScale scale_;
  int lane_;
};

}  // namespace onebeat::cuda
