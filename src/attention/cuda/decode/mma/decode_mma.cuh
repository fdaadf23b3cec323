// SPDX-License-Identifier: Apache-2.0
// Decode attention on mma.sync: each warp streams its own tokens of every tile through a private
// ring, with its own running maximum, sum and output; warps meet only at the end of a segment, CTAs
// only in the merge of a split unit.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/mma/head_parts.cuh"
#include "attention/cuda/decode/mma/mma_column_pass.cuh"
#include "attention/cuda/decode/mma/mma_pass.cuh"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// 8 query rows leave no row of a product empty if they are its columns.
template <typename S>
using PassOf = std::conditional_t<S::kRows == 8, MmaColumnPass<S>, MmaPass<S>>;

template <typename S>
using PartsOf = std::conditional_t<S::kParts == 2, HeadParts<S>, WholeHeads>;

/// Sum over warps of 4 elements of a row.
template <typename S>
__device__ __forceinline__ Accumulator meet(const float* outputs, const float2* stats,
                                            std::uint32_t row, std::uint32_t column) {
  Accumulator a;
  if constexpr (S::kParts > 1) {
    const std::uint32_t part = column / S::kPartDim;
    column -= part * S::kPartDim;
    outputs += part * 8 * S::kPartDim;
    stats += part * 8;
  }
#pragma unroll
  for (int w = 0; w < S::kWarps; w += S::kParts) a.maximum = fmaxf(a.maximum, stats[w * 8 + row].x);
#pragma unroll
  for (int w = 0; w < S::kWarps; w += S::kParts) {
    const float2 s = stats[w * 8 + row];
    const float weight = weight_of(s.x, a.maximum);
    const float4 o =
        *reinterpret_cast<const float4*>(outputs + (w * 8 + row) * S::kPartDim +
                                         (column ^ PassOf<S>::meet_swizzle(static_cast<int>(row))));
    a.sum += weight * s.y;
    a.output.x += weight * o.x, a.output.y += weight * o.y;
    a.output.z += weight * o.z, a.output.w += weight * o.w;
  }
  return a;
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 2)
    decode_mma(const __grid_constant__ DecodeParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  auto* meet_outputs = reinterpret_cast<float*>(shared + S::kRingBytes);
  auto* meet_stats = reinterpret_cast<float2*>(shared + S::kRingBytes + S::kMeetBytes);
  auto* flag =
      reinterpret_cast<std::uint32_t*>(shared + S::kRingBytes + S::kMeetBytes + S::kStatsBytes);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const std::uint32_t worker = blockIdx.x;

  // The next launch may start at once: its CTAs take the places that this one leaves free, and load
  // while this one computes. What they read early is complete (CudaOverlap::kEarlyLoads): it was
  // when this launch started, or, if this launch reads nothing early, it is behind the wait.
  bool waited = p.early_loads == 0;
  if (waited) ptx::dependency_wait();
  ptx::launch_dependents();
  Share share;
  const std::uint32_t stamp = load_share(p.workers + worker, share);
  if (stamp != p.stamp) {  // idle, or a plan for another geometry
    if (!waited) ptx::dependency_wait();
    if (stamp != 0 && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
    return;
  }

  const std::uint32_t ring = ptx::shared_address(shared) + warp * S::kStages * S::kStageBytes;
  UnitWalk<S::kTileShift> unit;
  unit.begin(p, share);
  KvStream<typename S::KvGranule, S::kTileShift, S::kRows, S::kSmallPages> stream(
      p, share, warp / S::kParts, lane, warp % S::kParts * S::KvGranule::kRowBytes);
#pragma unroll 1
  for (int stage = 0; stage < S::kStages; ++stage) {
    if (stream.open()) {
      if (!waited && stream.holds_new_tokens()) {
        stream.prefetch();
        ptx::dependency_wait();
        waited = true;
      }
      stream.load_k(ring + stage * S::kStageBytes);
      ptx::copy_async_commit();
      stream.load_v(ring + stage * S::kStageBytes + S::KvGranule::kBytes);
      ptx::copy_async_commit();
      stream.advance();
    } else {
      ptx::copy_async_commit();
      ptx::copy_async_commit();
    }
  }

  PassOf<S> sums(p, lane);
  PartsOf<S> parts(ptx::shared_address(meet_outputs), warp, lane);
  QueryRows<S> q;
  int stage = 0;
  bool started = false;
  do {
    const bool continues = unit.is_continuation(share);
    const bool partial = continues || unit.is_left_open(share);
    const std::uint32_t slot = 2 * worker + (continues ? 0 : 1);
    for (std::uint32_t pass = 0; pass * S::kRows < unit.rows; ++pass) {
      q.locate(p, unit, pass, warp, lane);
      sums.reset();
      if (!started) {  // as late as possible: all that needs no result of the kernel before is done
        S::Pause::at(0);
        if (!waited) ptx::dependency_wait();
        started = true;
      }
      q.load(p, unit, lane);
      for (std::uint32_t tile = unit.tile_begin; tile < unit.tile_end; ++tile) {
        const std::uint32_t k = ring + stage * S::kStageBytes;
        const std::uint32_t v = k + S::KvGranule::kBytes;
        ptx::copy_async_wait<2 * S::kStages - 1>();
        __syncwarp();
        sums.multiply_k(q, k);
        __syncwarp();
        if (stream.open()) stream.load_k(k);
        ptx::copy_async_commit();
        parts.add_up(sums.scores());
        sums.shape_scores(q, (tile << S::kTileShift) + warp / S::kParts * S::kTokens);
        sums.soften();
        ptx::copy_async_wait<2 * S::kStages - 1>();
        __syncwarp();
        sums.multiply_v(v);
        __syncwarp();
        if (stream.open()) {
          stream.load_v(v);
          stream.advance();
        }
        ptx::copy_async_commit();
        stage = stage + 1 == S::kStages ? 0 : stage + 1;
      }
      parts.meet();
#pragma unroll
      for (int half = 0; half < S::kRows / 8; ++half) {
        const std::uint32_t first_row = pass * S::kRows + half * 8;
        if (first_row >= unit.rows) break;
        sums.publish(half, meet_outputs + warp * 8 * S::kPartDim, meet_stats + warp * 8);
        __syncthreads();
        const std::uint32_t items = min(unit.rows - first_row, 8u) * (S::D / 4);
        for (std::uint32_t item = threadIdx.x; item < items; item += S::kThreads) {
          const std::uint32_t row = item / (S::D / 4);
          const std::uint32_t column = item % (S::D / 4) * 4;
          const Accumulator a = meet<S>(meet_outputs, meet_stats, row, column);
          if (partial) {
            Scratch<S::D>{p}.write(slot, first_row + row, column, a);
          } else {
            write_final<typename S::Element>(p, unit, first_row + row, column, a);
          }
        }
        __syncthreads();
      }
    }
    if (partial) {
      const std::uint32_t owner = continues ? share.continued_owner : worker;
      const std::uint32_t partials = continues ? share.continued_partials : share.started_partials;
      arrive_and_merge<S, S::kThreads>(p, unit, gridDim.x, owner, worker - owner, partials, flag);
    }
  } while (unit.next(p, share));
  if (!started && !waited) ptx::dependency_wait();
  if (stream.faults() != 0) atomicOr(p.status, stream.faults());
}

/// The kernel of a shape, and what is known of it.
template <typename S>
[[nodiscard]] DecodeKernel mma_kernel(std::string_view name) {
  return {{name, S::D, S::Element::kKvType, S::kTileTokens, S::kRows,
           S::kSmallPages ? 1 : S::kTokens, S::kThreads, S::kSharedBytes},
          reinterpret_cast<const void*>(&decode_mma<S>)};
}

}  // namespace onebeat::cuda
