// SPDX-License-Identifier: Apache-2.0
// The product for one row on ordinary arithmetic units.
//
// A CTA owns whole rows of the weight: one run of bytes. One thread copies it through a ring, some
// rows at a time; eight warps hold x in registers, each its columns of every chunk of 2,048, and
// multiply what arrives. The copies start before the wait for earlier kernels.
#pragma once

#include "device/dependent_launch.cuh"
#include "ops/cuda/few_rows_output.cuh"
#include "ops/cuda/few_rows_params.h"
#include "ops/cuda/few_rows_ptx.cuh"

namespace onebeat::cuda::few_rows {

inline constexpr int kStreamConsumers = 256;
inline constexpr int kStreamThreads = kStreamConsumers + 32;
inline constexpr int kChunkInputs = kStreamConsumers * 8;
inline constexpr int kBatchRows = 8;  // reduced together
inline constexpr int kMaxStreamStages = 16;
inline constexpr int kStreamSharedBytes = 113 * 1024;
inline constexpr int kStreamFixedBytes = 2 * 8 * kBatchRows * 4 + 2 * kMaxStreamStages * 8;

/// Rows in a stage: about 16 KB, and a whole number of stages in a batch.
ONEBEAT_HD constexpr int stream_stage_rows(std::int32_t inputs) {
  int rows = kBatchRows;
  while (rows > 1 && rows * inputs * 2 > 16384) rows /= 2;
  return rows;
}

ONEBEAT_HD constexpr int stream_stages(std::int32_t inputs) {
  const int fit =
      (kStreamSharedBytes - kStreamFixedBytes) / (stream_stage_rows(inputs) * inputs * 2);
  return fit < kMaxStreamStages ? fit : kMaxStreamStages;
}

struct StreamRing {
  std::uint32_t bytes, full, empty;  ///< Shared addresses.
  int stages, stage_bytes, stage_rows;
};

__device__ __forceinline__ void produce_rows(const FewRowsParams& p, const RowRange& range,
                                             const StreamRing& ring) {
  const std::int32_t row_bytes = p.inputs * 2;
  const std::int32_t total = (range.count + ring.stage_rows - 1) / ring.stage_rows;
  const std::int32_t trigger_at = max(total - p.trigger, 0);
  const std::uint64_t policy = evict_first_policy();
  int stage = 0;
  std::uint32_t parity = 1;  // the first round finds all stages empty
  for (std::int32_t i = 0; i < total; ++i) {
    if (i == trigger_at) let_dependents_start();
    const std::int32_t row = i * ring.stage_rows;
    const std::int32_t rows = min(ring.stage_rows, range.count - row);
    const std::uint32_t full = ring.full + static_cast<std::uint32_t>(stage * 8);
    std::uint32_t to = ring.bytes + static_cast<std::uint32_t>(stage * ring.stage_bytes);
    const std::uint16_t* from = p.weight + (range.begin + row) * p.weight_stride;
    mbarrier_wait(ring.empty + static_cast<std::uint32_t>(stage * 8), parity);
    mbarrier_expect(full, static_cast<std::uint32_t>(rows * row_bytes));
    if (p.weight_stride == p.inputs) {
      copy_bulk(to, from, static_cast<std::uint32_t>(rows * row_bytes), full, policy);
    } else {
      for (std::int32_t r = 0; r < rows; ++r) {
        copy_bulk(to, from, static_cast<std::uint32_t>(row_bytes), full, policy);
        to += static_cast<std::uint32_t>(row_bytes);
        from += p.weight_stride;
      }
    }
    if (++stage == ring.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

/// Sums over the lanes of eight values at once; lane l ends with the sum of value l / 4.
__device__ __forceinline__ float sum_of_eight(float (&v)[kBatchRows], int lane) {
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const bool upper = (lane & (half * 4)) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float other = __shfl_xor_sync(0xffffffffu, upper ? v[i] : v[i + half], half * 4);
      v[i] = (upper ? v[i + half] : v[i]) + other;
    }
  }
  v[0] += __shfl_xor_sync(0xffffffffu, v[0], 2);
  return v[0] + __shfl_xor_sync(0xffffffffu, v[0], 1);
}

/// Over all consumers; `shared` has room for a number of each warp, twice.
template <int kChunks>
__device__ __forceinline__ float sum_of_squares(const float (&x)[kChunks][8], float* shared) {
  float sum = 0.0f;
#pragma unroll
  for (const auto& chunk : x) {
#pragma unroll
    for (const float value : chunk) sum = fmaf(value, value, sum);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  float* of_warps = shared + 8 * kBatchRows;  // the first batch uses what lies before
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  barrier_sync<kStreamConsumers>();
  sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kStreamConsumers / 32; ++warp) sum += of_warps[warp];
  return sum;
}

template <int kChunks>
__device__ __forceinline__ void consume_rows(const FewRowsParams& p, const RowRange& range,
                                             const StreamRing& ring, float* batch_sums) {
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  const bool last_chunk = (kChunks - 1) * kChunkInputs + thread * 8 < p.inputs;
  float x[kChunks][8];
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    uint4 v = {0, 0, 0, 0};
    if (i + 1 < kChunks || last_chunk) v = load_16(p.x + i * kChunkInputs + thread * 8);
    const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[i][2 * j] = from_bf16(words[j] & 0xffffu);
      x[i][2 * j + 1] = __uint_as_float(words[j] & 0xffff0000u);
    }
  }
  const float scale = p.norm_epsilon < 0 ? 1.0f : norm_scale(p, sum_of_squares(x, batch_sums));
  const std::int32_t row_bytes = p.inputs * 2;
  int stage = 0, buffer = 0;
  std::uint32_t parity = 0;
  int in_stage = 0;
  for (std::int32_t batch = 0; batch < range.count; batch += kBatchRows) {
    float sums[kBatchRows];
#pragma unroll
    for (int r = 0; r < kBatchRows; ++r) {
      sums[r] = 0.0f;
      if (batch + r >= range.count) continue;
      if (in_stage == 0) mbarrier_wait(ring.full + static_cast<std::uint32_t>(stage * 8), parity);
      const std::uint32_t row =
          ring.bytes +
          static_cast<std::uint32_t>(stage * ring.stage_bytes + in_stage * row_bytes + thread * 16);
      float even = 0.0f, odd = 0.0f;
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
        if (i + 1 == kChunks && !last_chunk) continue;
        const uint4 v = load_shared_16(row + static_cast<std::uint32_t>(i * kChunkInputs * 2));
        const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          even = fmaf(from_bf16(words[j]), x[i][2 * j], even);
          odd = fmaf(__uint_as_float(words[j] & 0xffff0000u), x[i][2 * j + 1], odd);
        }
      }
      sums[r] = even + odd;
      if (++in_stage == ring.stage_rows || batch + r + 1 == range.count) {
        in_stage = 0;
        __syncwarp();
        if (lane == 0) mbarrier_arrive(ring.empty + static_cast<std::uint32_t>(stage * 8));
        if (++stage == ring.stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    const float sum = sum_of_eight(sums, lane);
    float* of_warps = batch_sums + buffer * 8 * kBatchRows;
    if (lane % 4 == 0) of_warps[warp * kBatchRows + lane / 4] = sum;
    barrier_sync<kStreamConsumers>();
    if (thread < kBatchRows / 2 && batch + 2 * thread < range.count) {
      float2 total = {0.0f, 0.0f};
#pragma unroll
      for (int w = 0; w < 8; ++w) {
        total.x += of_warps[w * kBatchRows + 2 * thread];
        total.y += of_warps[w * kBatchRows + 2 * thread + 1];
      }
      store_pair(p, 0, range.begin + batch + 2 * thread, total, scale);
    }
    buffer ^= 1;
  }
}

template <int kChunks>
__global__ void __launch_bounds__(kStreamThreads, 2)
    stream_kernel(const __grid_constant__ FewRowsParams p) {
  extern __shared__ __align__(128) unsigned char stream_bytes[];
  StreamRing ring;
  ring.stage_rows = stream_stage_rows(p.inputs);
  ring.stages = stream_stages(p.inputs);
  ring.stage_bytes = ring.stage_rows * p.inputs * 2;
  float* batch_sums = reinterpret_cast<float*>(stream_bytes + ring.stages * ring.stage_bytes);
  ring.bytes = shared_address(stream_bytes);
  ring.full = shared_address(batch_sums + 2 * 8 * kBatchRows);
  ring.empty = ring.full + kMaxStreamStages * 8;
  if (threadIdx.x == 0) {
    for (int i = 0; i < ring.stages; ++i) {
      mbarrier_init(ring.full + static_cast<std::uint32_t>(i * 8), 1);
      mbarrier_init(ring.empty + static_cast<std::uint32_t>(i * 8), kStreamConsumers / 32);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  const RowRange range = group_rows(p.outputs, static_cast<std::int32_t>(blockIdx.x),
                                    static_cast<std::int32_t>(gridDim.x));
  if (threadIdx.x >= kStreamConsumers) {
    if (threadIdx.x == kStreamConsumers) produce_rows(p, range, ring);
  } else {
    wait_for_predecessors();
    consume_rows<kChunks>(p, range, ring, batch_sums);
  }
}

}  // namespace onebeat::cuda::few_rows
