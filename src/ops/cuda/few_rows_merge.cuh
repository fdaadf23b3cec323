// SPDX-License-Identifier: Apache-2.0
// Adding up the partial sums of CTAs that share rows of a weight, each with a run of K.
#pragma once

#include "ops/cuda/few_rows_output.cuh"
#include "ops/cuda/few_rows_params.h"
#include "ops/cuda/few_rows_ptx.cuh"

namespace onebeat::cuda::few_rows {

/// Whether this CTA is the last of `splits` to arrive, and so sees what all have written. All
/// threads call it.
__device__ __forceinline__ bool last_to_arrive(std::uint32_t* counter, std::int32_t splits) {
  __shared__ std::uint32_t arrived;
  __syncthreads();
  if (threadIdx.x == 0) arrived = arrive_and_wrap(counter, static_cast<std::uint32_t>(splits - 1));
  __syncthreads();
  return arrived == static_cast<std::uint32_t>(splits - 1);
}

/// Partial sums [splits, tiles, columns, tile rows], and the squares of x [splits, tiles, columns].
struct PartialSums {
  const float* sums = nullptr;
  const float* squares = nullptr;
  std::int64_t split_stride = 0;  ///< Of both.
  std::int32_t tile_stride = 0;   ///< Of both.
  std::int32_t output = 0;        ///< The first one.
  std::int32_t count = 0;         ///< Outputs.
};

/// Adds up the splits in their order and finishes the outputs. Many loads are under way at once,
/// for a round of them takes as long as one.
template <int kThreads, int kTileRows>
__device__ __forceinline__ void merge_partials(const FewRowsParams& p, const PartialSums& partial) {
  constexpr int kItems = 4, kQuads = kTileRows / 4;
  const std::int32_t tiles = (partial.count + kTileRows - 1) / kTileRows;
  const std::int32_t items_of_tile = p.rows * kQuads;
  const std::int32_t items = tiles * items_of_tile;
  for (std::int32_t first = static_cast<std::int32_t>(threadIdx.x); first < items;
       first += kItems * kThreads) {
    float4 sums[kItems] = {};
    float squares[kItems] = {};
    std::int32_t sums_at[kItems], squares_at[kItems];  // fewer registers than pointers
    std::int32_t outputs[kItems], x_rows[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const std::int32_t item = first + i * kThreads;
      const std::int32_t tile = item / items_of_tile;
      const std::int32_t in_tile = item - tile * items_of_tile;
      x_rows[i] = in_tile / kQuads;
      const std::int32_t row = in_tile % kQuads * 4;
      outputs[i] = item < items ? tile * kTileRows + row : partial.count;
      sums_at[i] = tile * partial.tile_stride + x_rows[i] * kTileRows + row;
      squares_at[i] = tile * partial.tile_stride + x_rows[i];
    }
#pragma unroll 4
    for (std::int32_t split = 0; split < p.splits; ++split) {
      const float* of_split = partial.sums + split * partial.split_stride;
      const float* squares_of_split = partial.squares + split * partial.split_stride;
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        if (outputs[i] >= partial.count) continue;
        const float4 part = __ldcg(reinterpret_cast<const float4*>(of_split + sums_at[i]));
        sums[i].x += part.x;
        sums[i].y += part.y;
        sums[i].z += part.z;
        sums[i].w += part.w;
        if (p.norm_epsilon >= 0) squares[i] += __ldcg(squares_of_split + squares_at[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (outputs[i] >= partial.count) continue;
      const float scale = p.norm_epsilon < 0 ? 1.0f : norm_scale(p, squares[i]);
      const std::int32_t output = partial.output + outputs[i];
      store_pair(p, x_rows[i], output, {sums[i].x, sums[i].y}, scale);
      if (outputs[i] + 2 < partial.count)
        store_pair(p, x_rows[i], output + 2, {sums[i].z, sums[i].w}, scale);
    }
  }
}

}  // namespace onebeat::cuda::few_rows
