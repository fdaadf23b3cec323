// SPDX-License-Identifier: Apache-2.0
// Batch-invariant mode (contract D9): every chunk of a unit is summed up by itself, and chunks are
// merged over the fixed tree of plan/reduction_tree.h, so that bits depend neither on who has which
// chunks nor on what else is in the batch. A worker reduces its run of chunks to whole nodes, which
// lie in its slot of the scratch: node i of a slot is place slot * nodes_per_slot + i.
//
// Sums are merged in several places, by workers and by whoever arrives last. All of them must round
// alike, so every operation says how it rounds, and the compiler has no choice.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/merge.cuh"
#include "plan/reduction_tree.h"

namespace onebeat::cuda {

/// The variant of a kernel that runs plans of batch-invariant mode.
template <typename Shape>
struct Invariant : Shape {
  static constexpr bool kInvariant = true;
  static constexpr int kProgramEntries = 128;  ///< See merge_tree.cuh.
  static constexpr int kProgramOffset = Shape::kSharedBytes;
  static constexpr int kSharedBytes = Shape::kSharedBytes + 4 * kProgramEntries;
  static_assert(kProgramOffset % 4 == 0);
  static_assert(2 * (kSharedBytes + 1024) <= 228 * 1024, "two CTAs share a multiprocessor");
};

/// What two neighbouring nodes become, of a row. A node that saw no token changes nothing.
struct NodeWeights {
  float2 stats;  ///< Maximum and sum.
  float left, right;

  __device__ __forceinline__ NodeWeights(float2 l, float2 r) {
    stats.x = fmaxf(l.x, r.x);
    left = weight_of(l.x, stats.x);
    right = weight_of(r.x, stats.x);
    stats.y = sum(l.y, r.y);
  }
  [[nodiscard]] __device__ __forceinline__ float sum(float l, float r) const {
    const float both = __fmaf_rn(left, l, __fmul_rn(right, r));
    return left == 0.0f ? r : right == 0.0f ? l : both;
  }
  [[nodiscard]] __device__ __forceinline__ float4 merge(float4 l, float4 r) const {
    return {sum(l.x, r.x), sum(l.y, r.y), sum(l.z, r.z), sum(l.w, r.w)};
  }
};

__device__ __forceinline__ Accumulator merged(const Accumulator& left, const Accumulator& right) {
  const NodeWeights weights(make_float2(left.maximum, left.sum),
                            make_float2(right.maximum, right.sum));
  return {weights.stats.x, weights.stats.y, weights.merge(left.output, right.output)};
}

/// Chunks that a unit's request covers; none if it has no tokens.
template <int kTileShift, typename Walk>
__device__ __forceinline__ ChunkRange request_chunks(const DecodeParams& p, const Walk& unit) {
  const std::uint32_t end_tile = (unit.len + (1u << kTileShift) - 1) >> kTileShift;
  return {(unit.first >> kTileShift) / p.invariant_tiles,
          (end_tile + p.invariant_tiles - 1) / p.invariant_tiles};
}

/// How many nodes a worker's run has, chunk by chunk, and where they lie. The same in all threads.
class NodeRun {
 public:
  /// `continues`: it does not begin its unit. It then has both slots of its worker, which has put
  /// nothing into the second one yet: the run's nodes grow and shrink again.
  template <int kTileShift, typename Walk>
  __device__ __forceinline__ void begin(const DecodeParams& p, const Walk& unit, std::uint32_t slot,
                                        bool continues) {
    request_ = request_chunks<kTileShift>(p, unit);
    chunk_ = first_ = unit.tile_begin / p.invariant_tiles;
    place_ = slot * p.nodes_per_slot;
    room_ = p.nodes_per_slot * (continues ? 2 : 1);
    before_ = after_ = 0;
  }

  /// One past the last tile of the chunk.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t end_tile(const DecodeParams& p) const {
    return (chunk_ + 1) * p.invariant_tiles;
  }

  /// The chunk is summed up: the last before() + 1 - after() nodes and the chunk become node
  /// after() - 1. False if the scratch has no room for that: the plan is none of its planner's.
  __device__ __forceinline__ bool close_chunk() {
    ++chunk_;
    before_ = after_;
    after_ = before_ == 0 ? 1 : tree_nodes_of_run({first_, chunk_}, request_);
    const bool fits = after_ <= room_ && after_ <= before_ + 1;
    if (!fits) after_ = 1;
    return fits;
  }

  [[nodiscard]] __device__ __forceinline__ std::uint32_t before() const { return before_; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t after() const { return after_; }
  /// Where node `node` lies in the scratch.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t place(std::uint32_t node) const {
    return place_ + node;
  }

 private:
  ChunkRange request_;
  std::uint32_t first_ = 0, chunk_ = 0;
  std::uint32_t place_ = 0, room_ = 0;
  std::uint32_t before_ = 0, after_ = 0;
};

/// Takes the sum of the chunk that was closed last, a thread's 4 elements of a row. The last node
/// is kept in registers, in `last`; the others lie in the scratch.
template <int D>
__device__ __forceinline__ void add_chunk(const Scratch<D>& scratch, const NodeRun& run,
                                          std::uint32_t row, std::uint32_t column,
                                          Accumulator chunk, Accumulator& last) {
  if (run.before() != 0) {
    if (run.after() <= run.before()) {
      chunk = merged(last, chunk);
      for (std::uint32_t node = run.before() - 1; node >= run.after(); --node) {
        chunk = merged(scratch.read(run.place(node - 1), row, column), chunk);
      }
    } else {
      scratch.write(run.place(run.before() - 1), row, column, last);
    }
  }
  last = chunk;
}

}  // namespace onebeat::cuda
