// SPDX-License-Identifier: Apache-2.0
// Batch-invariant decode on mma.sync: as decode_mma.cuh, but every chunk of a unit is summed up
// from nothing, by all warps together, and merged with the nodes before it. For shapes whose warps
// have whole heads.
#pragma once

#include <cstdint>
#include <string_view>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/invariant/merge_tree.cuh"
#include "attention/cuda/decode/invariant/tree_nodes.cuh"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/mma/decode_mma.cuh"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Sum over warps of 4 elements of a row: meet(), rounded as it says.
template <typename S>
__device__ __forceinline__ Accumulator meet_chunk(const float* outputs, const float2* stats,
                                                  std::uint32_t row, std::uint32_t column) {
  Accumulator a;
#pragma unroll
  for (int w = 0; w < S::kWarps; ++w) a.maximum = fmaxf(a.maximum, stats[w * 8 + row].x);
#pragma unroll
  for (int w = 0; w < S::kWarps; ++w) {
    const float2 s = stats[w * 8 + row];
    const float weight = weight_of(s.x, a.maximum);
    const float4 o = *reinterpret_cast<const float4*>(
        outputs + (w * 8 + row) * S::D + (column ^ PassOf<S>::meet_swizzle(static_cast<int>(row))));
    a.sum = __fmaf_rn(weight, s.y, a.sum);
    a.output.x = __fmaf_rn(weight, o.x, a.output.x);
    a.output.y = __fmaf_rn(weight, o.y, a.output.y);
    a.output.z = __fmaf_rn(weight, o.z, a.output.z);
    a.output.w = __fmaf_rn(weight, o.w, a.output.w);
  }
  return a;
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 2)
    decode_mma_invariant(const __grid_constant__ DecodeParams p) {
  constexpr int kItems = (8 * (S::D / 4) + S::kThreads - 1) / S::kThreads;  // of a thread, 8 rows
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
  KvStream<typename S::KvGranule, S::kTileShift, S::kRows, S::kSmallPages> stream(p, share, warp,
                                                                                  lane, 0);
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
  QueryRows<S> q;
  int stage = 0;
  bool started = false;
  bool fits = true;
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
      NodeRun run;
      Accumulator last[S::kRows / 8][kItems];  // the run's last node
      run.begin<S::kTileShift>(p, unit, slot, continues);
      std::uint32_t tile = unit.tile_begin;
      do {
        const std::uint32_t stop = min(unit.tile_end, run.end_tile(p));
        for (; tile < stop; ++tile) {
          const std::uint32_t k = ring + stage * S::kStageBytes;
          const std::uint32_t v = k + S::KvGranule::kBytes;
          ptx::copy_async_wait<2 * S::kStages - 1>();
          __syncwarp();
          sums.multiply_k(q, k);
          __syncwarp();
          if (stream.open()) stream.load_k(k);
          ptx::copy_async_commit();
          sums.shape_scores(q, (tile << S::kTileShift) + warp * S::kTokens);
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
        fits &= run.close_chunk();
#pragma unroll
        for (int half = 0; half < S::kRows / 8; ++half) {
          const std::uint32_t first_row = pass * S::kRows + half * 8;
          if (first_row >= unit.rows) break;
          sums.publish(half, meet_outputs + warp * 8 * S::D, meet_stats + warp * 8);
          __syncthreads();
          const std::uint32_t items = min(unit.rows - first_row, 8u) * (S::D / 4);
#pragma unroll
          for (int i = 0; i < kItems; ++i) {
            const std::uint32_t item = i * S::kThreads + threadIdx.x;
            if (item >= items) break;
            const std::uint32_t row = item / (S::D / 4);
            const std::uint32_t column = item % (S::D / 4) * 4;
            const Accumulator a = meet_chunk<S>(meet_outputs, meet_stats, row, column);
            add_chunk(Scratch<S::D>{p}, run, first_row + row, column, a, last[half][i]);
          }
          __syncthreads();
        }
        sums.reset();
      } while (tile < unit.tile_end);
#pragma unroll
      for (int half = 0; half < S::kRows / 8; ++half)
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
          const std::uint32_t item = i * S::kThreads + threadIdx.x;
          const std::uint32_t row = pass * S::kRows + half * 8 + item / (S::D / 4);
          const std::uint32_t column = item % (S::D / 4) * 4;
          if (row >= unit.rows || item >= 8 * (S::D / 4)) continue;
          if (partial) {
            Scratch<S::D>{p}.write(run.place(run.after() - 1), row, column, last[half][i]);
          } else {
            write_final<typename S::Element>(p, unit, row, column, last[half][i]);
          }
        }
    }
    if (partial) {
      const std::uint32_t owner = continues ? share.continued_owner : worker;
      const std::uint32_t partials = continues ? share.continued_partials : share.started_partials;
      auto* program = reinterpret_cast<std::uint32_t*>(shared + S::kProgramOffset);
      arrive_and_merge_tree<S, S::kThreads>(p, unit, gridDim.x, owner, worker - owner, partials,
                                            flag, program);
    }
  } while (unit.next(p, share));
  if (!started && !waited) ptx::dependency_wait();
  if (!fits && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
  if (stream.faults() != 0) atomicOr(p.status, stream.faults());
}

/// The kernel of a shape, and what is known of it.
template <typename S>
[[nodiscard]] DecodeKernel mma_invariant_kernel(std::string_view name) {
  static_assert(S::kInvariant && S::kParts == 1);
  return {{name, S::D, S::Element::kKvType, S::kTileTokens, S::kRows,
           S::kSmallPages ? 1 : S::kTokens, S::kThreads, S::kSharedBytes, true},
          reinterpret_cast<const void*>(&decode_mma_invariant<S>)};
}

}  // namespace onebeat::cuda
