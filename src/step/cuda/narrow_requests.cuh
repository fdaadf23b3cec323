// SPDX-License-Identifier: Apache-2.0
// The requests of a narrow step as each block sees them for itself: what they cost, summed over all
// before them, and which of them lies at a place of that sum. Two forms, which spread the requests
// over a block's threads or over the lanes of every warp.
#pragma once

#include <cstdint>
#include <type_traits>

#include "device/warp_sum.cuh"
#include "step/cuda/narrow_params.h"
#include "step/cuda/request_block.cuh"

namespace onebeat::cuda {

/// Lengths of requests [place, place + kItems), forced into their range; 0 from `requests` on.
template <int kItems>
__device__ __forceinline__ void load_lens(const NarrowLens& source, std::uint32_t requests,
                                          std::uint32_t place, std::uint32_t (&lens)[kItems]) {
  std::int32_t stored[kItems] = {};
  if constexpr (kItems == 1) {
    if (place < requests) stored[0] = source.stored[place];
  } else {
    constexpr int kWide = kItems % 4 == 0 ? 4 : 2;
    using Vector = std::conditional_t<kWide == 4, int4, int2>;
    if (place + kItems <= requests) {
#pragma unroll
      for (int i = 0; i < kItems; i += kWide) {
        *reinterpret_cast<Vector*>(stored + i) =
            *reinterpret_cast<const Vector*>(source.stored + place + i);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kItems - 1; ++i) {
        if (place + i < requests) stored[i] = source.stored[place + i];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kItems; ++i) lens[i] = source.forced(stored[i]);
}

/// Costs of a thread's requests, those that take part, as sums before each; returns their total.
template <int kItems, typename Cost>
__device__ __forceinline__ std::uint32_t load_costs(const NarrowParams& p, std::uint32_t place,
                                                    std::uint32_t& count, Cost&& cost,
                                                    std::uint32_t (&begins)[kItems]) {
  std::uint32_t lens[kItems];
  const std::int32_t stored_active = load_active(p.work);
  load_lens<kItems>(p.lens, static_cast<std::uint32_t>(p.work.num_requests), place, lens);
  std::uint32_t ignored = 0;  // reported by the blocks that place tokens
  count = checked_active(p.work, stored_active, ignored);
  const int taking_part = static_cast<int>(count) - static_cast<int>(place);
  std::uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    begins[i] = sum;
    const std::uint32_t own = cost(lens[i]);
    if (i < taking_part) sum += own;
  }
  return sum;
}

/// The request that a cut falls into.
struct NarrowSpot {
  std::uint32_t request = 0;
  std::uint32_t cost_begin = 0;
};

/// Requests [begin, end) of a slice.
struct SliceRange {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

__device__ __forceinline__ SliceRange slice_of(std::uint32_t count, std::uint32_t slice,
                                               std::uint32_t shift) {
  const std::uint32_t each = (count + (1u << shift) - 1) >> shift;
  return {min(slice * each, count), min((slice + 1) * each, count)};
}

/// Up to 32 * kItems requests, kItems for each lane, the same in every warp: nothing goes through
/// shared memory, and no warp waits for another.
template <int kItems>
class WarpRequests {
 public:
  static constexpr int kMost = 32 * kItems;
  struct Space {};

  template <typename Cost>
  __device__ __forceinline__ WarpRequests(const NarrowParams& p, Space&, Cost&& cost) {
    const unsigned lane = threadIdx.x % 32;
    const std::uint32_t own = load_costs<kItems>(p, lane * kItems, count_, cost, begins_);
    const std::uint32_t scanned = warp_inclusive_sum(own, lane);
#pragma unroll
    for (int i = 0; i < kItems; ++i) begins_[i] += scanned - own;
    total_ = __shfl_sync(kAllLanes, scanned, 31);
  }

  [[nodiscard]] __device__ std::uint32_t count() const {
    return count_;
  }
  [[nodiscard]] __device__ std::uint32_t total() const {
    return total_;
  }

  /// The last request that begins at or before `cost`, which is below the total. All lanes of a
  /// warp call it.
  [[nodiscard]] __device__ __forceinline__ NarrowSpot find(std::uint32_t cost) const {
    std::uint32_t owner = 0;
    NarrowSpot spot;
#pragma unroll
    for (std::uint32_t step = 16; step > 0; step /= 2) {
      const std::uint32_t begin = __shfl_sync(kAllLanes, begins_[0], owner + step);
      // Lanes without requests begin at the total, behind every cut.
      if (begin <= cost) {
        owner += step;
        spot.cost_begin = begin;
      }
    }
    spot.request = owner * kItems;
#pragma unroll
    for (int i = 1; i < kItems; ++i) {
      const std::uint32_t begin = __shfl_sync(kAllLanes, begins_[i], owner);
      if (begin <= cost) {
        ++spot.request;
        spot.cost_begin = begin;
      }
    }
    return spot;
  }

  /// Calls visit(r, sum of what lies before r) for the requests of a slice. All threads call it;
  /// warp w takes place w of every lane.
  template <typename Visit>
  __device__ __forceinline__ void for_each(const SliceRange& range, Visit&& visit) const {
    const unsigned warp = threadIdx.x / 32;
    if (warp >= kItems) return;
    std::uint32_t begin = begins_[0];
#pragma unroll
    for (int i = 1; i < kItems; ++i) begin = warp == i ? begins_[i] : begin;
    const std::uint32_t r = threadIdx.x % 32 * kItems + warp;
    if (r >= range.begin && r < range.end) visit(r, begin);
  }

 private:
  std::uint32_t begins_[kItems];
  std::uint32_t count_ = 0;
  std::uint32_t total_ = 0;
};

/// Up to kThreads * kItems requests, kItems for each thread of a block; sums inside each warp lie
/// in shared memory.
template <int kThreads, int kItems>
class BlockRequests {
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kWarpItems = 32 * kItems;

 public:
  static constexpr int kMost = kThreads * kItems;
  struct Space {
    alignas(16) std::uint32_t begin[kThreads * kItems];
    alignas(16) std::uint32_t warp_sums[kWarps];
  };

  /// Ends past a barrier.
  template <typename Cost>
  __device__ __forceinline__ BlockRequests(const NarrowParams& p, Space& space, Cost&& cost)
      : space_(space) {
    const unsigned lane = threadIdx.x % 32;
    const std::uint32_t place = threadIdx.x * kItems;
    std::uint32_t begins[kItems];
    const std::uint32_t own = load_costs<kItems>(p, place, count_, cost, begins);
    const std::uint32_t scanned = warp_inclusive_sum(own, lane);
#pragma unroll
    for (int i = 0; i < kItems; ++i) begins[i] += scanned - own;
    store(space.begin + place, begins);
    if (lane == 31) space.warp_sums[threadIdx.x / 32] = scanned;
    __syncthreads();
    const std::uint32_t of_warp = lane < kWarps ? space.warp_sums[lane] : 0;
    const std::uint32_t warps = warp_inclusive_sum<kWarps>(of_warp, lane);
    before_ = warps - of_warp;
    total_ = __shfl_sync(kAllLanes, warps, kWarps - 1);
  }

  [[nodiscard]] __device__ std::uint32_t count() const {
    return count_;
  }
  [[nodiscard]] __device__ std::uint32_t total() const {
    return total_;
  }

  /// As WarpRequests::find().
  [[nodiscard]] __device__ __forceinline__ NarrowSpot find(std::uint32_t cost) const {
    std::uint32_t warp = 0;
    std::uint32_t before = 0;
#pragma unroll
    for (std::uint32_t step = 16; step > 0; step /= 2) {
      if (step >= kWarps) continue;
      const std::uint32_t begin = __shfl_sync(kAllLanes, before_, warp + step);
      // Warps without requests begin at the total, behind every cut.
      if (begin <= cost && warp + step < kWarps) {
        warp += step;
        before = begin;
      }
    }
    std::uint32_t request = warp * kWarpItems;
    const std::uint32_t left = cost - before;
    request += kItems * 4 * last_at_most<8>(space_.begin + request, kItems * 4, left);
    request += kItems * last_at_most<4>(space_.begin + request, kItems, left);
    request += last_at_most<kItems>(space_.begin + request, 1, left);
    return {request, before + space_.begin[request]};
  }

  /// As WarpRequests::for_each().
  template <typename Visit>
  __device__ __forceinline__ void for_each(const SliceRange& range, Visit&& visit) const {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll 1
    for (std::uint32_t base = range.begin + threadIdx.x - lane; base < range.end;
         base += kThreads) {
      const std::uint32_t r = base + lane;
      const std::uint32_t before = __shfl_sync(kAllLanes, before_, r / kWarpItems);
      if (r < range.end) visit(r, before + space_.begin[r]);
    }
  }

 private:
  static __device__ __forceinline__ void store(std::uint32_t* out,
                                               const std::uint32_t (&items)[kItems]) {
    if constexpr (kItems % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kItems; i += 4) {
        *reinterpret_cast<uint4*>(out + i) =
            uint4{items[i], items[i + 1], items[i + 2], items[i + 3]};
      }
    } else {
#pragma unroll
      for (int i = 0; i < kItems; ++i) out[i] = items[i];
    }
  }

  /// The last of kCount ascending numbers, `stride` apart, that is at most `limit`; the first one
  /// counts as 0. All loads at once: a round of shared memory takes longer than the comparisons.
  template <int kCount>
  static __device__ __forceinline__ std::uint32_t last_at_most(const std::uint32_t* numbers,
                                                               std::uint32_t stride,
                                                               std::uint32_t limit) {
    std::uint32_t found = 0;
#pragma unroll
    for (int i = 1; i < kCount; ++i) found += numbers[i * stride] <= limit ? 1 : 0;
    return found;
  }

  Space& space_;
  std::uint32_t before_ = 0;  ///< Lane w: the sum of the warps before w.
  std::uint32_t count_ = 0;
  std::uint32_t total_ = 0;
};

}  // namespace onebeat::cuda
