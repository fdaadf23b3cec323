// SPDX-License-Identifier: Apache-2.0
// Batch-invariant decode on wgmma: as decode_wgmma.cuh, but every chunk of a unit is summed up from
// nothing and merged with the nodes before it, which lie in the scratch: 64 rows are too many for
// registers.
#pragma once

#include <cstdint>
#include <string_view>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/invariant/merge_tree.cuh"
#include "attention/cuda/decode/invariant/tree_nodes.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/decode/wgmma/decode_wgmma.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Takes the sum of the chunk that was closed last. All nodes lie in the
/// scratch; a thread always has the same elements of them.
template <typename S, typename Pass>
__device__ __forceinline__ void add_rows(const Scratch<S::D>& scratch, const NodeRun& run,
                                         const Pass& sums, std::uint32_t row, bool live, int lane) {
  const std::uint32_t before = run.before();
  const bool joins = run.after() <= before;
  const std::uint32_t to = run.place(joins ? before - 1 : run.after() - 1);
  const std::uint32_t at = live ? row : 0;
  const bool writes_stats = live && lane % 4 < 2;
  sums.publish([&](float maximum, float sum) {
    float2 old = make_float2(kMinusInfinity, 0.0f);
    if (joins) old = __ldcg(scratch.stats(to, at));
    __syncwarp();  // both threads of the row have read what one of them replaces
    const NodeWeights weights(old, make_float2(maximum, sum));
    if (writes_stats) __stcg(scratch.stats(to, at), weights.stats);
    return [=, place = scratch.outputs(to, at, 0)](std::uint32_t column, float4 output) {
      if (!live) return;
      const float4 left = joins ? __ldcg(place + column / 4) : make_float4(0, 0, 0, 0);
      __stcg(place + column / 4, weights.merge(left, output));
    };
  });
  for (std::uint32_t node = before - 1; joins && node >= run.after(); --node) {
    const std::uint32_t left = run.place(node - 1);
    const std::uint32_t right = run.place(node);
    __syncwarp();
    const NodeWeights weights(__ldcg(scratch.stats(left, at)), __ldcg(scratch.stats(right, at)));
    __syncwarp();
    if (writes_stats) __stcg(scratch.stats(left, at), weights.stats);
    if (!live) continue;
#pragma unroll 4
    for (int j = 0; j < S::D / 8; ++j) {
      const std::uint32_t column = 8 * j + lane % 4 / 2 * 4;
      float4* place = scratch.outputs(left, at, column);
      __stcg(place, weights.merge(__ldcg(place), __ldcg(scratch.outputs(right, at, column))));
    }
  }
}

/// The run was the whole unit, and its only node is the result.
template <typename S, typename Walk>
__device__ __forceinline__ void write_rows(const DecodeParams& p, const Walk& unit,
                                           const Scratch<S::D>& scratch, const NodeRun& run,
                                           std::uint32_t row, bool live, int lane) {
  __syncwarp();
  const std::uint32_t at = live ? row : 0;
  const float2 stats = __ldcg(scratch.stats(run.place(0), at));
  const FinishedRow<typename S::Element, Walk> to(p, unit, at, stats.x, stats.y);
  if (!live) return;
#pragma unroll 4
  for (int j = 0; j < S::D / 8; ++j) {
    const std::uint32_t column = 8 * j + lane % 4 / 2 * 4;
    to.write(column, __ldcg(scratch.outputs(run.place(0), at, column)));
  }
}

/// The multiplying warp group: attend(), chunk by chunk.
template <typename S>
__device__ __forceinline__ void attend_chunks(const DecodeParams& p, const Share& share,
                                              RingPlace<S> place, std::uint32_t queries,
                                              std::uint32_t* flag, std::uint32_t* program, int warp,
                                              int lane) {
  using Walk = UnitWalk<S::kTileShift>;
  const std::uint32_t worker = blockIdx.x;
  Walk unit;
  unit.begin(p, share);
  WgmmaPass<typename S::Element, S::D, S::kTileTokens> sums(p, lane);
  QueryPanels<S::D> q;
  const auto release = [lane](std::uint32_t barrier) {
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(barrier);
  };
  bool started = false;
  do {
    const bool continues = unit.is_continuation(share);
    const bool partial = continues || unit.is_left_open(share);
    const std::uint32_t slot = 2 * worker + (continues ? 0 : 1);
    q.locate(p, unit, warp, lane);
    sums.reset();
    if (!started) {  // as late as possible: all that needs no result of the kernel before is done
      S::Pause::at(0);
      if (p.early_loads != 0) ptx::dependency_wait();
      started = true;
      q.copy(p, queries, warp, lane);
      ptx::launch_dependents();
    } else {
      ptx::barrier_sync<S::kGroupThreads>();  // nobody reads the queries of the last unit
      q.copy(p, queries, warp, lane);
    }
    ptx::barrier_sync<S::kGroupThreads>();
    const std::uint32_t row = sums.row(warp);
    const bool live = row < unit.rows;
    const Scratch<S::D> scratch{p};
    NodeRun run;
    run.begin<S::kTileShift>(p, unit, slot, continues);
    std::uint32_t tile = unit.tile_begin;
    do {
      const std::uint32_t stop = min(unit.tile_end, run.end_tile(p));
      if (tile < stop) {
        ptx::mbarrier_wait(place.k_full(), place.round);
        ptx::fence_async_proxy();
        sums.start_scores(queries, place.k());
        sums.wait();
        release(place.k_free());
        for (;; ++tile) {
          sums.shape_scores(q, tile << S::kTileShift);
          sums.soften();
          ptx::mbarrier_wait(place.v_full(), place.round);
          ptx::fence_async_proxy();
          sums.start_output(place.v());
          const std::uint32_t v_free = place.v_free();
          place.advance();
          if (tile + 1 == stop) {
            sums.wait();
            release(v_free);
            break;
          }
          ptx::mbarrier_wait(place.k_full(), place.round);
          ptx::fence_async_proxy();
          sums.start_scores(queries, place.k());
          sums.wait();
          release(v_free);
          release(place.k_free());
        }
        ++tile;
      }
      if (!run.close_chunk() && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
      add_rows<S>(scratch, run, sums, row, live, lane);
      sums.reset();
    } while (tile < unit.tile_end);

    if (!partial) write_rows<S>(p, unit, scratch, run, row, live, lane);
    if (partial) {
      const std::uint32_t owner = continues ? share.continued_owner : worker;
      const std::uint32_t partials = continues ? share.continued_partials : share.started_partials;
      arrive_and_merge_tree<S, S::kGroupThreads>(p, unit, gridDim.x, owner, worker - owner,
                                                 partials, flag, program);
    }
  } while (unit.next(p, share));
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 2)
    decode_wgmma_invariant(const __grid_constant__ DecodeParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const std::uint32_t base = ptx::shared_address(shared);
  const RingPlace<S> place{base, base + S::kRingBytes + S::kQueryBytes};
  auto& common =
      *reinterpret_cast<Common*>(shared + S::kRingBytes + S::kQueryBytes + S::kBarrierBytes);
  const int warp = threadIdx.x % S::kGroupThreads / 32;
  const int lane = threadIdx.x % 32;

  if (p.early_loads == 0) ptx::dependency_wait();
  if (threadIdx.x == 0) {
    common.stamp = load_share(p.workers + blockIdx.x, common.share);
    for (std::uint32_t stage = 0; stage < S::kStages; ++stage) {
      const std::uint32_t barriers = place.barriers + stage * 32;
      ptx::mbarrier_init(barriers, S::kGroupThreads);  // every copying thread
      ptx::mbarrier_init(barriers + 8, S::kGroupThreads);
      ptx::mbarrier_init(barriers + 16, S::kGroupThreads / 32);  // every multiplying warp
      ptx::mbarrier_init(barriers + 24, S::kGroupThreads / 32);
    }
  }
  __syncthreads();
  if (common.stamp != p.stamp) {  // idle, or a plan for another geometry
    if (p.early_loads != 0) ptx::dependency_wait();
    ptx::launch_dependents();
    if (common.stamp != 0 && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
    return;
  }
  if (threadIdx.x >= S::kGroupThreads) {
    ptx::release_registers<S::kCopyRegisters>();
    copy_kv<S>(p, common.share, place, warp, lane);
  } else {
    ptx::claim_registers<S::kMultiplyRegisters>();
    auto* program = reinterpret_cast<std::uint32_t*>(shared + S::kProgramOffset);
    attend_chunks<S>(p, common.share, place, base + S::kRingBytes, &common.flag, program, warp,
                     lane);
  }
}

/// The kernel of a shape, and what is known of it.
template <typename S>
[[nodiscard]] DecodeKernel wgmma_invariant_kernel(std::string_view name) {
  static_assert(S::kInvariant);
  return {{name, S::D, S::Element::kKvType, S::kTileTokens, kQueryTileRows,
           S::kSmallPages ? 1 : S::kTokens, S::kThreads, S::kSharedBytes, true},
          reinterpret_cast<const void*>(&decode_wgmma_invariant<S>)};
}

}  // namespace onebeat::cuda
