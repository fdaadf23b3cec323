// SPDX-License-Identifier: Apache-2.0
// Sums over the lanes of a warp.
#pragma once

#include <cstdint>

namespace onebeat::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

/// Sum over the lanes before this one and this one; `kLanes` of them matter.
template <unsigned kLanes = 32>
__device__ __forceinline__ std::uint32_t warp_inclusive_sum(std::uint32_t value, unsigned lane) {
#pragma unroll
  for (unsigned distance = 1; distance < kLanes; distance *= 2) {
    const std::uint32_t other = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += other;
  }
  return value;
}

}  // namespace onebeat::cuda
