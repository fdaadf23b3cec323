// SPDX-License-Identifier: Apache-2.0
// The merge of a split unit in batch-invariant mode: whoever arrives last at a unit, or at a group
// of its workers, merges their nodes over the fixed tree.
//
// Which nodes there are, and which of them merge when, follows from where the workers' runs begin.
// The lanes of a warp work that out, a worker each, and leave a program in shared memory: for each
// node, from left to right, its place in the scratch and how many nodes are left once it is in.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/invariant/tree_nodes.cuh"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "plan/reduction_tree.h"

namespace onebeat::cuda {

/// Consecutive runs that are merged: those of partial results first, first + step, ... of a unit.
struct MergedRuns {
  std::uint32_t owner, partials;     ///< Of the unit.
  std::uint32_t first, step, count;  ///< `count` runs; each is that of `step` partial results.
  ChunkRange request;

  /// First chunk of partial result `index`; behind the last, the end of the request.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t chunk_of(const DecodeParams& p,
                                                                  std::uint32_t index) const {
    if (index == 0) return request.begin;
    if (index >= partials) return request.end;
    const std::uint32_t worker = min(owner + index, gridDim.x - 1);
    const std::uint32_t chunk = p.workers[worker].begin_tile / p.invariant_tiles;
    return min(max(chunk, request.begin), request.end);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t begin(const DecodeParams& p) const {
    return chunk_of(p, first);
  }
};

/// Writes the program of as many runs from `run` on as fit; returns how many, and the number of
/// their nodes. All threads of a warp together; all warps write the same.
template <int kEntries>
__device__ __forceinline__ std::uint32_t write_program(const DecodeParams& p,
                                                       const MergedRuns& runs, std::uint32_t run,
                                                       std::uint32_t* program,
                                                       std::uint32_t& nodes) {
  const std::uint32_t lane = threadIdx.x % 32;
  const std::uint32_t index = runs.first + (run + lane) * runs.step;
  ChunkRange mine{0, 0};
  if (run + lane < runs.count) {
    mine = {runs.chunk_of(p, index), runs.chunk_of(p, min(index + runs.step, runs.partials))};
  }
  const std::uint32_t begin = runs.begin(p);
  const std::uint32_t count = tree_nodes_of_run(mine, runs.request);
  std::uint32_t end = count;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const std::uint32_t other = __shfl_up_sync(~0u, end, step);
    if (lane >= static_cast<std::uint32_t>(step)) end += other;
  }
  const bool fits = end <= kEntries && run + lane < runs.count;
  if (fits) {
    const std::uint32_t place = slot_of(runs.owner, index) * p.nodes_per_slot;
    const std::uint32_t places = 2 * gridDim.x * p.nodes_per_slot;
    std::uint32_t chunk = mine.begin;
    for (std::uint32_t i = 0; i < count; ++i) {
      chunk = tree_node_of_run(chunk, mine, runs.request);
      const std::uint32_t left = tree_nodes_of_run({begin, chunk}, runs.request);
      program[end - count + i] = min(place + i, places - 1) | left << 24;
    }
  }
  const std::uint32_t taken = __popc(__ballot_sync(~0u, fits));
  nodes = taken == 0 ? 0 : __shfl_sync(~0u, end, static_cast<int>(taken) - 1);
  __syncwarp();
  return taken;
}

/// A thread's nodes while it merges: the last one in registers, the others in memory of its own.
struct NodeStack {
  /// Nodes grow to the middle of a run and shrink behind it.
  static constexpr std::uint32_t kDepth = 2 * kMostNodesPerSlot;
  Accumulator node[kDepth];
  Accumulator last;
  std::uint32_t depth = 0;

  /// Adds the node on the right; `left` are then left. Requires: left from 1 to depth + 1, and at
  /// most kDepth.
  __device__ __forceinline__ void add(Accumulator a, std::uint32_t left) {
    if (depth != 0) {
      if (left <= depth) {
        a = merged(last, a);
#pragma unroll 1
        for (std::uint32_t d = depth - 1; d >= left; --d) a = merged(node[d - 1], a);
      } else {
        node[depth - 1] = last;
      }
    }
    last = a;
    depth = left;
  }
};

/// Merges the runs; calls finish(row, column, stack, live) for each item. Threads without an item
/// take part. False if the plan is none of its planner's.
template <typename S, int kThreads, typename Finish>
__device__ __forceinline__ bool merge_runs(const DecodeParams& p, const MergedRuns& runs,
                                           std::uint32_t rows, std::uint32_t* program,
                                           const Finish& finish) {
  constexpr int D = S::D;
  constexpr std::uint32_t kBatch = 4;  // loads of a thread in flight; two batches
  const Scratch<D> scratch{p};
  const std::uint32_t items = rows * (D / 4);
  std::uint32_t nodes = 0;
  std::uint32_t taken = write_program<S::kProgramEntries>(p, runs, 0, program, nodes);
  const bool once = taken == runs.count;
  bool valid = true;
  for (std::uint32_t base = 0; base < items; base += kThreads) {
    const std::uint32_t item = base + threadIdx.x;
    const bool live = item < items;
    const std::uint32_t row = live ? item / (D / 4) : 0;
    const std::uint32_t column = item % (D / 4) * 4;
    NodeStack stack;
    std::uint32_t run = 0;
    while (true) {
      Accumulator next[kBatch];
      std::uint32_t left[kBatch];
      const auto load = [&](std::uint32_t from) {
#pragma unroll
        for (std::uint32_t i = 0; i < kBatch; ++i) {
          left[i] = 0;
          if (from + i < nodes) {
            const std::uint32_t entry = program[from + i];
            left[i] = entry >> 24;
            next[i] = scratch.read(entry & 0xffffffu, row, column);
          }
        }
      };
      load(0);
#pragma unroll 1
      for (std::uint32_t i0 = 0; i0 < nodes; i0 += kBatch) {
        Accumulator now[kBatch];
        std::uint32_t now_left[kBatch];
#pragma unroll
        for (std::uint32_t i = 0; i < kBatch; ++i) now[i] = next[i], now_left[i] = left[i];
        load(i0 + kBatch);
#pragma unroll
        for (std::uint32_t i = 0; i < kBatch; ++i) {
          if (now_left[i] == 0) continue;
          const bool fits = now_left[i] <= NodeStack::kDepth && now_left[i] <= stack.depth + 1;
          valid &= fits;
          if (fits) stack.add(now[i], now_left[i]);
        }
      }
      run += taken;
      if (run >= runs.count || taken == 0) break;
      ptx::barrier_sync<kThreads>();  // nobody reads the program any more
      taken = write_program<S::kProgramEntries>(p, runs, run, program, nodes);
    }
    valid &= run >= runs.count;
    finish(row, column, stack, live);
    if (once || base + kThreads >= items) continue;
    ptx::barrier_sync<kThreads>();
    taken = write_program<S::kProgramEntries>(p, runs, 0, program, nodes);
  }
  return valid;
}

/// As arrive_and_merge(), for nodes of the tree: one level, or two where a unit has many partial
/// results.
template <typename S, int kThreads, typename Walk>
__device__ __forceinline__ void arrive_and_merge_tree(const DecodeParams& p, const Walk& unit,
                                                      std::uint32_t workers, std::uint32_t owner,
                                                      std::uint32_t index, std::uint32_t partials,
                                                      std::uint32_t* flag, std::uint32_t* program) {
  S::Pause::at(2 * slot_of(owner, index));
  const Scratch<S::D> scratch{p};
  MergedRuns runs;
  runs.owner = owner;
  runs.partials = partials;
  runs.request = request_chunks<S::kTileShift>(p, unit);
  bool valid = true;
  std::uint32_t step = 1;
  std::uint32_t count = partials;
  if (partials > p.flat_merge_limit) {
    step = merge_group(partials);
    count = (partials + step - 1) / step;
    runs.first = index / step * step;
    runs.step = 1;
    runs.count = min(step, partials - runs.first);
    const std::uint32_t slot = slot_of(owner, runs.first);
    if (runs.count > 1) {
      if (!arrive_last<kThreads>(p.counters + slot, runs.count, flag)) return;
      const bool middle = runs.first != 0 && runs.first + runs.count != partials;
      const std::uint32_t room = p.nodes_per_slot * (middle ? 2 : 1);
      const std::uint32_t place = slot * p.nodes_per_slot;
      valid = merge_runs<S, kThreads>(
          p, runs, unit.rows, program,
          [&](std::uint32_t row, std::uint32_t column, const NodeStack& stack, bool live) {
            __syncwarp();  // all threads of a row, one warp, have read what one of them replaces
            if (!live || stack.depth > room) return;
#pragma unroll 1
            for (std::uint32_t d = 0; d + 1 < stack.depth; ++d)
              scratch.write(place + d, row, column, stack.node[d]);
            scratch.write(place + stack.depth - 1, row, column, stack.last);
          });
      S::Pause::at(2 * slot + 1);
    }
  }
  if (!arrive_last<kThreads>(p.counters + 2 * workers + owner, count, flag)) return;
  runs.first = 0;
  runs.step = step;
  runs.count = count;
  valid &= merge_runs<S, kThreads>(
      p, runs, unit.rows, program,
      [&](std::uint32_t row, std::uint32_t column, const NodeStack& stack, bool live) {
        if (live) write_final<typename S::Element>(p, unit, row, column, stack.last);
      });
  if (!valid && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
}

}  // namespace onebeat::cuda
