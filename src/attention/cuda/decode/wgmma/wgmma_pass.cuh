// SPDX-License-Identifier: Apache-2.0
// A warp group's arithmetic over one segment: scores, online softmax and output of up to 64 query
// rows, on wgmma.
//
// Query rows are the M = 64 side: warp w has rows 16w to 16w + 15, a thread two of them. Scores
// come out in the layout in which the second product takes them, so probabilities never leave
// registers.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/element.cuh"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/score_shape.cuh"
#include "attention/cuda/ptx.cuh"
#include "attention/cuda/wgmma.cuh"

namespace onebeat::cuda {

/// Rows of D elements as products read them (see wgmma.cuh): panels of 64 elements side by side.
template <int D, int kRows>
struct Panels {
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kBytes = (D + 63) / 64 * kPanelBytes;
  static constexpr int kRowPitch = 128;
  __device__ __forceinline__ static std::uint32_t place(int row, int segment) {
    return segment / 8 * kPanelBytes + row * kRowPitch + ((segment % 8 ^ row % 8) << 4);
  }
  /// Where copying threads' segments go in the next blocks of columns (RowCopy).
  __device__ __forceinline__ static std::uint32_t block(std::uint32_t place, int index) {
    constexpr int kSegments = RowCopy<D * 2>::kSegments;
    if constexpr (kSegments >= 8) return place + index * (kSegments / 8) * kPanelBytes;
    return (place ^ (index % 2 * 64)) + index / 2 * kPanelBytes;
  }
  /// From the start of a row to 16-element group `i` of it.
  __device__ static constexpr std::uint32_t group(int i) {
    return static_cast<std::uint32_t>(i / 4 * kPanelBytes + i % 4 * 32);
  }
};

/// The query rows of a unit: which tokens the thread's two rows see, and a copy of the values in
/// shared memory.
template <int D>
class QueryPanels {
  using Layout = Panels<D, kQueryTileRows>;

 public:
  std::uint32_t low[2], high[2];    ///< Each row sees tokens [low, high).
  std::uint32_t all_low, all_high;  ///< Seen by every row of the unit.

  /// Everything that needs no memory.
  template <typename Walk>
  __device__ __forceinline__ void locate(const DecodeParams& p, const Walk& unit, int warp,
                                         int lane) {
    const std::uint32_t row = warp * 16 + lane % 16;
    const QueryRow<Walk> q(p, unit, min(row, unit.rows - 1));
    source_ = row < unit.rows && q.index < p.num_query_tokens
                  ? static_cast<const std::uint16_t*>(p.q) + q.index * p.q_token_stride +
                        q.head * p.q_head_stride
                  : nullptr;
    const VisibleTokens seen(p, unit, q.token);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      low[half] = __shfl_sync(~0u, seen.low, lane / 4 + 8 * half);
      high[half] = __shfl_sync(~0u, seen.high, lane / 4 + 8 * half);
    }
    all_low = VisibleTokens(p, unit, unit.query_tokens - 1).low;
    all_high = VisibleTokens(p, unit, 0).high;
  }

  /// Copies the warp's 16 rows to the panels at `panels`; absent rows become zeros.
  __device__ __forceinline__ void copy(const DecodeParams& p, std::uint32_t panels, int warp,
                                       int lane) const {
    using Copy = RowCopy<D * 2>;
    const std::uint64_t policy = ptx::evict_normal_policy();
    const int segment = lane % Copy::kSegments;
#pragma unroll
    for (int i = 0; i < 16 / Copy::kRows; ++i) {
      const int row = i * Copy::kRows + lane / Copy::kSegments;
      const auto from = reinterpret_cast<const std::uint16_t*>(
          __shfl_sync(~0u, reinterpret_cast<std::uint64_t>(source_), row));
      const bool live = from != nullptr;
      const std::uint32_t place = panels + Layout::place(warp * 16 + row, segment);
#pragma unroll
      for (int b = 0; b < Copy::kBlocks; ++b)
        ptx::copy_async_16(Layout::block(place, b),
                           live ? from + (segment + b * Copy::kSegments) * 8
                                : static_cast<const std::uint16_t*>(p.q),
                           live ? 16u : 0u, policy);
    }
    ptx::copy_async_commit();
    ptx::copy_async_wait<0>();
    ptx::fence_async_proxy();
  }

 private:
  const std::uint16_t* source_;  // of row lane % 16 of the warp's; null: absent
};

template <typename E, int D, int kTileTokens>
class WgmmaPass {
  using Tile = Panels<D, kTileTokens>;
  static constexpr int kOctets = kTileTokens / 8;

 public:
  __device__ __forceinline__ WgmmaPass(const DecodeParams& p, int lane) : scale_(p), lane_(lane) {}

  __device__ __forceinline__ void reset() {
#pragma unroll
    for (int h = 0; h < 2; ++h) maximum_[h] = kMinusInfinity, sum_[h] = 0.0f;
#pragma unroll
    for (int i = 0; i < D / 2; ++i) output_[i] = 0.0f;
  }

  /// Starts scores_ = q * K^T; one group.
  __device__ __forceinline__ void start_scores(std::uint32_t q, std::uint32_t k) {
    const std::uint64_t a = ptx::panel_descriptor(q, Panels<D, kQueryTileRows>::kPanelBytes);
    const std::uint64_t b = ptx::panel_descriptor(k, Tile::kPanelBytes);
    hold(scores_);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < D / 16; ++i) {
      E::wgmma_rows(scores_, ptx::descriptor_behind(a, Panels<D, kQueryTileRows>::group(i)),
                    ptx::descriptor_behind(b, Tile::group(i)), i != 0);
    }
    ptx::wgmma_commit();
  }

  /// Starts output_ += probabilities * V; one group.
  __device__ __forceinline__ void start_output(std::uint32_t v) {
    const std::uint64_t b = ptx::panel_descriptor(v, Tile::kPanelBytes);
    hold(output_);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kTileTokens / 16; ++i)
      multiply_columns<0>(weights_[i], ptx::descriptor_behind(b, i * 16 * 128));
    ptx::wgmma_commit();
  }

  /// Waits for what was started.
  __device__ __forceinline__ void wait() {
    ptx::wgmma_wait<0>();
    hold(scores_);
    hold(output_);
  }

  /// Caps and masks the scores of the tile from `token` on.
  __device__ __forceinline__ void shape_scores(const QueryPanels<D>& q, std::uint32_t token) {
    if (scale_.caps()) {
#pragma unroll
      for (int i = 0; i < kTileTokens / 2; ++i) {
        scores_[i] = scale_.capped(scores_[i]);
      }
    }
    if (token >= q.all_low && token + kTileTokens <= q.all_high) return;
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const std::uint32_t at = token + j * 8 + lane_ % 4 * 2 + e % 2;
        if (at < q.low[e / 2] || at >= q.high[e / 2]) scores_[4 * j + e] = kMinusInfinity;
      }
  }

  /// Turns scores into probabilities relative to the new maximum; rescales the output if that rose.
  __device__ __forceinline__ void soften() {
    float factor[2];
    bool rose = false;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = fmaxf(scores_[2 * h], scores_[2 * h + 1]);
#pragma unroll
      for (int j = 1; j < kOctets; ++j)
        top = fmaxf(top, fmaxf(scores_[4 * j + 2 * h], scores_[4 * j + 2 * h + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      top = fmaxf(top * scale_.unit(), maximum_[h]);
      rose |= top > maximum_[h];
      const float reference = top == kMinusInfinity ? 0.0f : top;
      factor[h] = ptx::exp2_fast(maximum_[h] - reference);
      maximum_[h] = top;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kOctets; ++j) {
        const float x = ptx::exp2_fast(fmaf(scores_[4 * j + 2 * h], scale_.unit(), -reference));
        const float y = ptx::exp2_fast(fmaf(scores_[4 * j + 2 * h + 1], scale_.unit(), -reference));
        sum += x + y;
        weights_[j / 2][j % 2 * 2 + h] = E::pack(x, y);
      }
      sum_[h] = sum_[h] * factor[h] + sum;
    }
    if (!__any_sync(~0u, rose)) return;
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) output_[4 * j + e] *= factor[e / 2];
  }

  /// The thread's row of the unit after exchange with its neighbour; half a row's columns each.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t row(int warp) const {
    return warp * 16 + lane_ / 4 + lane_ % 2 * 8;
  }

  /// Calls write(maximum, sum) for an object with a call operator (column, float4), which then gets
  /// all of the thread's elements of row(). All threads of a warp together.
  template <typename MakeWriter>
  __device__ __forceinline__ void publish(const MakeWriter& make_writer) const {
    float sums[2] = {sum_[0], sum_[1]};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sums[h] += __shfl_xor_sync(~0u, sums[h], 1);
      sums[h] += __shfl_xor_sync(~0u, sums[h], 2);
    }
    const bool odd = lane_ % 2 != 0;
    const auto write = make_writer(odd ? maximum_[1] : maximum_[0], odd ? sums[1] : sums[0]);
    // A thread has two neighbouring columns of two rows, and gives one of these to its neighbour.
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      const float* o = output_ + 4 * j;
      const float x = __shfl_xor_sync(~0u, odd ? o[0] : o[2], 1);
      const float y = __shfl_xor_sync(~0u, odd ? o[1] : o[3], 1);
      write(static_cast<std::uint32_t>(8 * j + lane_ % 4 / 2 * 4),
            odd ? make_float4(x, y, o[2], o[3]) : make_float4(o[0], o[1], x, y));
    }
  }

 private:
  /// Columns from kFirst on: 128 a product, then 64, then 32.
  template <int kFirst>
  __device__ __forceinline__ void multiply_columns(const std::uint32_t (&weights)[4],
                                                   std::uint64_t v) {
    constexpr int kLeft = D - kFirst;
    constexpr int kColumns = kLeft >= 128 ? 128 : kLeft >= 64 ? 64 : 32;
    E::wgmma_columns(*reinterpret_cast<float(*)[kColumns / 2]>(output_ + kFirst / 2), weights,
                     ptx::descriptor_behind(v, kFirst / 64 * Tile::kPanelBytes));
    if constexpr (kLeft > kColumns) multiply_columns<kFirst + kColumns>(weights, v);
  }

  /// Nothing that touches these registers is moved across this point.
  template <int kCount>
  __device__ __forceinline__ static void hold(float (&values)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
  }

  float scores_[kTileTokens / 2];
  float output_[D / 2];
  std::uint32_t weights_[kTileTokens / 16][4];  // probabilities
  float maximum_[2], sum_[2];                   // base-2 units; this thread's part of the sum
  ScoreScale scale_;
  int lane_;
};

}  // namespace onebeat::cuda
