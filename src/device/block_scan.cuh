// SPDX-License-Identifier: Apache-2.0
// Prefix sums over the threads of a block, of one 64-bit and one 32-bit number together.
#pragma once

#include <cstdint>

namespace onebeat::cuda {

struct ScanPair {
  std::uint64_t wide = 0;
  std::uint32_t narrow = 0;
};

/// Shared memory of one scan.
struct ScanSpace {
  std::uint64_t wide[32];
  std::uint32_t narrow[32];
};

/// Sum over the threads before this one; `total` becomes the sum over all. All threads of a block
/// of whole warps call it. Ends with every thread past a barrier but still reading `space`: another
/// barrier must come before it is used again.
__device__ __forceinline__ ScanPair block_exclusive_sum(ScanPair value, ScanPair& total,
                                                        ScanSpace& space) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const unsigned warps = blockDim.x / 32;
  ScanPair sum = value;
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint64_t wide = __shfl_up_sync(0xffffffffu, sum.wide, distance);
    const std::uint32_t narrow = __shfl_up_sync(0xffffffffu, sum.narrow, distance);
    if (lane >= distance) {
      sum.wide += wide;
      sum.narrow += narrow;
    }
  }
  if (lane == 31) {
    space.wide[warp] = sum.wide;
    space.narrow[warp] = sum.narrow;
  }
  __syncthreads();
  ScanPair before;
  total = {};
#pragma unroll 8
  for (unsigned w = 0; w < warps; ++w) {
    if (w == warp) before = total;
    total.wide += space.wide[w];
    total.narrow += space.narrow[w];
  }
  return {before.wide + sum.wide - value.wide, before.narrow + sum.narrow - value.narrow};
}

/// Two 32-bit numbers, summed modulo 2^32.
struct NarrowPair {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
};

/// Shared memory of one such scan.
struct NarrowPairSpace {
  NarrowPair sums[32];
};

__device__ __forceinline__ NarrowPair warp_inclusive_pair(NarrowPair value, unsigned lane) {
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint32_t first = __shfl_up_sync(0xffffffffu, value.first, distance);
    const std::uint32_t second = __shfl_up_sync(0xffffffffu, value.second, distance);
    if (lane >= distance) {
      value.first += first;
      value.second += second;
    }
  }
  return value;
}

/// As block_exclusive_sum(), for blocks that wait for nothing else: half the instructions.
__device__ __forceinline__ NarrowPair block_exclusive_pair(NarrowPair value, NarrowPair& total,
                                                           NarrowPairSpace& space) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const NarrowPair sum = warp_inclusive_pair(value, lane);
  if (lane == 31) space.sums[warp] = sum;
  __syncthreads();
  const NarrowPair own = lane < blockDim.x / 32 ? space.sums[lane] : NarrowPair{};
  const NarrowPair of_warps = warp_inclusive_pair(own, lane);
  total.first = __shfl_sync(0xffffffffu, of_warps.first, 31);
  total.second = __shfl_sync(0xffffffffu, of_warps.second, 31);
  const std::uint32_t first = __shfl_sync(0xffffffffu, of_warps.first - own.first, warp);
  const std::uint32_t second = __shfl_sync(0xffffffffu, of_warps.second - own.second, warp);
  return {first + sum.first - value.first, second + sum.second - value.second};
}

}  // namespace onebeat::cuda
