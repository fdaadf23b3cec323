// SPDX-License-Identifier: Apache-2.0
// One warp's arithmetic over one segment for up to 8 query rows, on mma.sync with the queries as
// the N = 8 side: tokens, then elements of the head, are the M = 16 side.
//
// No row of a product is empty, so it takes half the products and half the accumulators of
// mma_pass.cuh. Probabilities become the second product's operand by transposing 8x8 matrices
// between registers. The running maximum is a reference that is moved only when a score exceeds it
// by more than kSlack: probabilities of up to 2^kSlack lose nothing.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/mma/mma_pass.cuh"
#include "attention/cuda/decode/score_shape.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Scores, online softmax and output of one pass over one segment; 8 query rows. A thread has the
/// scores of queries lane % 4 * 2 and the next one, at tokens lane / 4 + 8 * i.
template <typename S>
class MmaColumnPass {
  static constexpr int D = S::kPartDim;
  static constexpr int kBlocks = S::kTokens / 16;  ///< 16-token rows of a granule's scores
  static constexpr float kSlack = 6.0f;            ///< base-2 units
  using G = typename S::KvGranule;
  using E = typename S::Element;

 public:
  __device__ __forceinline__ MmaColumnPass(const DecodeParams& p, int lane)
      : scale_(p), lane_(lane) {}

  __device__ __forceinline__ void reset() {
#pragma unroll
    for (int c = 0; c < 2; ++c) maximum_[c] = kMinusInfinity, sum_[c] = 0.0f;
#pragma unroll
    for (int n = 0; n < D / 16; ++n)
      output_[n][0] = output_[n][1] = output_[n][2] = output_[n][3] = 0.0f;
  }

  /// scores_ = K * q^T for the granule at `k`.
  __device__ __forceinline__ void multiply_k(const QueryRows<S>& q,
                                             std::uint32_t k) requires(E::kKvBytes == 2) {
    constexpr int kChains = kBlocks == 1 ? 4 : 2;  // sums under way, for independent products
    float chain[kBlocks][kChains][4];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
      for (int c = 0; c < kChains; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e) chain[b][c][e] = 0.0f;
    const int token = lane_ / 4;
    const std::uint32_t base = k + token * G::kRowBytes;
    const int segment = (lane_ % 4) ^ G::k_swizzle(token);
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
      const uint4 query = q.part[i][0];
      const std::uint32_t column = base + ((segment ^ (4 * i)) << 4);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const uint4 low = ptx::load_shared_16(column + b * 16 * G::kRowBytes);
        const uint4 high = ptx::load_shared_16(column + (b * 16 + 8) * G::kRowBytes);
        E::mma(chain[b][2 * i % kChains], low.x, high.x, low.y, high.y, query.x, query.y);
        E::mma(chain[b][(2 * i + 1) % kChains], low.z, high.z, low.w, high.w, query.z, query.w);
      }
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores_[b][e] = chain[b][0][e] + chain[b][1][e];
        if constexpr (kChains == 4) scores_[b][e] += chain[b][2][e] + chain[b][3][e];
      }
  }

  /// The same of a cache of codes: 16 bytes are 16 elements, four products.
  __device__ __forceinline__ void multiply_k(const QueryRows<S>& q,
                                             std::uint32_t k) requires(E::kKvBytes == 1) {
    constexpr int kChains = kBlocks == 1 ? 4 : 2;
    float chain[kBlocks][kChains][4];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
      for (int c = 0; c < kChains; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e) chain[b][c][e] = 0.0f;
    const int token = lane_ / 4;
    const std::uint32_t base = k + token * G::kRowBytes;
    const int segment = (lane_ % 4) ^ G::k_swizzle(token);
#pragma unroll
    for (int i = 0; i < D / 64; ++i) {
      const std::uint32_t column = base + ((segment ^ (4 * i)) << 4);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const uint4 low = ptx::load_shared_16(column + b * 16 * G::kRowBytes);
        const uint4 high = ptx::load_shared_16(column + (b * 16 + 8) * G::kRowBytes);
        const auto multiply = [&](int product, std::uint32_t four_low, std::uint32_t four_high,
                                  std::uint32_t b0, std::uint32_t b1) {
          std::uint32_t a0, a1, a2, a3;
          E::widen(four_low, a0, a2);
          E::widen(four_high, a1, a3);
          E::mma(chain[b][product % kChains], a0, a1, a2, a3, b0, b1);
        };
        const uint4 query = q.part[2 * i][0];
        const uint4 next = q.part[2 * i + 1][0];
        multiply(0, low.x, high.x, query.x, query.y);
        multiply(1, low.y, high.y, query.z, query.w);
        multiply(2, low.z, high.z, next.x, next.y);
        multiply(3, low.w, high.w, next.z, next.w);
      }
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float sum = chain[b][0][e] + chain[b][1][e];
        if constexpr (kChains == 4) sum += chain[b][2][e] + chain[b][3][e];
        scores_[b][e] = sum * q.factor[e % 2];
      }
  }

  /// Of a thread.
  __device__ __forceinline__ float (&scores())[kBlocks][4] {
    return scores_;
  }

  /// Caps and masks the scores of the granule from `token` on.
  __device__ __forceinline__ void shape_scores(const QueryRows<S>& q, std::uint32_t token) {
    if (scale_.caps()) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          scores_[b][e] = scale_.capped(scores_[b][e]);
        }
    }
    if (token >= q.all_low && token + S::kTokens <= q.all_high) return;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const std::uint32_t at = token + b * 16 + e / 2 * 8 + lane_ / 4;
        if (at < q.low[e % 2] || at >= q.high[e % 2]) scores_[b][e] = kMinusInfinity;
      }
  }

  /// Turns scores into probabilities relative to maximum_; moves that, and rescales the output, if
  /// it lies too low.
  __device__ __forceinline__ void soften() {
    float top[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      top[c] = fmaxf(scores_[0][c], scores_[0][c + 2]);
#pragma unroll
      for (int b = 1; b < kBlocks; ++b)
        top[c] = fmaxf(top[c], fmaxf(scores_[b][c], scores_[b][c + 2]));
      top[c] *= scale_.unit();
    }
    constexpr float kMost = kSlack + E::kHeadroom;
    const bool rose = top[0] > maximum_[0] + kMost || top[1] > maximum_[1] + kMost;
    if (__any_sync(~0u, rose)) raise(top);
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const float reference = maximum_[c] == kMinusInfinity ? 0.0f : maximum_[c];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
#pragma unroll
        for (int e = c; e < 4; e += 2) {
          scores_[b][e] = ptx::exp2_fast(fmaf(scores_[b][e], scale_.unit(), -reference));
          sum_[c] += scores_[b][e];
        }
    }
  }

  /// output_ += V^T * probabilities for the granule at `v`.
  __device__ __forceinline__ void multiply_v(std::uint32_t v) {
    const int token = lane_ % 16;
    const std::uint32_t base = v + token * G::kRowBytes;
    const int segment = (lane_ / 16) ^ G::v_swizzle(token);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const std::uint32_t low =
          ptx::transpose_matrix(E::pack_weights(scores_[b][0], scores_[b][1]));
      const std::uint32_t high =
          ptx::transpose_matrix(E::pack_weights(scores_[b][2], scores_[b][3]));
      if constexpr (E::kKvBytes == 1) {
        // Rows of a product: the even elements of a segment, then the odd ones.
#pragma unroll
        for (int n = 0; n < D / 16; n += 2) {
          std::uint32_t a[4], even[4], odd[4];
          ptx::load_matrices_transposed(a, base + ((segment ^ n) << 4) + b * 16 * G::kRowBytes);
#pragma unroll
          for (int i = 0; i < 4; ++i) E::widen_alternate(a[i], even[i], odd[i]);
          E::mma(output_[n], even[0], odd[0], even[1], odd[1], low, high);
          E::mma(output_[n + 1], even[2], odd[2], even[3], odd[3], low, high);
        }
      } else {
#pragma unroll
        for (int n = 0; n < D / 16; ++n) {
          std::uint32_t a[4];
          ptx::load_matrices_transposed(a,
                                        base + ((segment ^ (2 * n)) << 4) + b * 16 * G::kRowBytes);
          E::mma(output_[n], a[0], a[2], a[1], a[3], low, high);
        }
      }
    }
  }

  /// Where warps meet: writes 8 rows of output, and of maxima and sums.
  __device__ __forceinline__ void publish(int /*half*/, float* output, float2* stats) const {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float sum = sum_[c];
      sum += __shfl_xor_sync(~0u, sum, 4);
      sum += __shfl_xor_sync(~0u, sum, 8);
      sum += __shfl_xor_sync(~0u, sum, 16);
      const int row = lane_ % 4 * 2 + c;
      if (lane_ < 4) stats[row] = make_float2(maximum_[c], sum);
      float* place = output + row * D;
#pragma unroll
      for (int n = 0; n < D / 16; ++n) {
        if constexpr (E::kKvBytes == 1) {
          *reinterpret_cast<float2*>(place + ((16 * n + lane_ / 4 * 2) ^ meet_swizzle(row))) =
              make_float2(output_[n][c], output_[n][c + 2]);
        } else {
          place[(16 * n + lane_ / 4) ^ meet_swizzle(row)] = output_[n][c];
          place[(16 * n + 8 + lane_ / 4) ^ meet_swizzle(row)] = output_[n][c + 2];
        }
      }
    }
  }

  /// Keeps the stores of publish() free of bank conflicts.
  __device__ static constexpr int meet_swizzle(int row) {
    return (row >> 1 & 3) << 3;
  }

 private:
  __device__ __forceinline__ void raise(float (&top)[2]) {
    float factor[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      top[c] = fmaxf(top[c], __shfl_xor_sync(~0u, top[c], 4));
      top[c] = fmaxf(top[c], __shfl_xor_sync(~0u, top[c], 8));
      top[c] = fmaxf(top[c], __shfl_xor_sync(~0u, top[c], 16));
      // A query's bits depend on the query alone: others of its column do not move its reference.
      const bool stays = S::kInvariant && !(top[c] > maximum_[c] + kSlack + E::kHeadroom);
      top[c] = stays ? maximum_[c] : fmaxf(top[c] - E::kHeadroom, maximum_[c]);
      factor[c] = ptx::exp2_fast(maximum_[c] - (top[c] == kMinusInfinity ? 0.0f : top[c]));
      maximum_[c] = top[c];
      sum_[c] *= factor[c];
    }
#pragma unroll
    for (int n = 0; n < D / 16; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) output_[n][e] *= factor[e % 2];
  }

  float scores_[kBlocks][4];
  float output_[D / 16][4];
  float maximum_[2], sum_[2];  // base-2 units; this thread's part of the sum
  ScoreScale scale_;
  int lane_;
};

}  // namespace onebeat::cuda
