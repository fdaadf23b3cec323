// SPDX-License-Identifier: Apache-2.0
// The device planner of a narrow step (plan/narrow_division.h), made for latency: what a small step
// waits for is the number of instructions that one warp executes in a row, not arithmetic or bytes.
// Every block scans all requests for itself, finds all cuts, and writes its slice of the plan, so
// no block waits for another.
//
// Order: (1) lengths, costs, a scan inside each warp, barrier; (2) every lane finds one cut, a
// warp's lanes share them with their neighbours (31 workers a warp), barrier; (3) partial results.
#pragma once

#include <cstdint>
#include <type_traits>

#include "onebeat/plan.h"
#include "plan/narrow_division.h"
#include "step/cuda/narrow_params.h"
#include "step/cuda/request_block.cuh"

namespace onebeat::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

/// Sum over the lanes before this one and this one.
__device__ __forceinline__ std::uint32_t warp_inclusive_sum(std::uint32_t value, unsigned lane) {
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint32_t other = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += other;
  }
  return value;
}

/// Requests of a step in shared memory: kItems for each thread, prefix sums inside each warp.
template <int kThreads, int kItems>
struct NarrowTile {
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kWarpItems = 32 * kItems;
  alignas(16) std::uint32_t begin[kThreads * kItems];
  alignas(16) std::uint32_t warp_sums[kWarps];
};

/// What every lane knows of the warps' sums: lane w those of the warps before w.
struct WarpSums {
  std::uint32_t before = 0;
  std::uint32_t total = 0;
};

template <int kThreads, int kItems>
__device__ __forceinline__ WarpSums warp_sums(const NarrowTile<kThreads, kItems>& tile,
                                              unsigned lane) {
  constexpr int kWarps = kThreads / 32;
  const std::uint32_t own = lane < kWarps ? tile.warp_sums[lane] : 0;
  std::uint32_t sum = own;
#pragma unroll
  for (unsigned distance = 1; distance < kWarps; distance *= 2) {
    const std::uint32_t other = __shfl_up_sync(kAllLanes, sum, distance);
    if (lane >= distance) sum += other;
  }
  return {sum - own, __shfl_sync(kAllLanes, sum, kWarps - 1)};
}

/// Lengths of the thread's requests, forced into their range; 0 from `requests` on.
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

/// Keeps the thread's items in shared memory.
template <int kItems>
__device__ __forceinline__ void store_items(std::uint32_t* out,
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

/// Calls visit(r, sum of what lies before r) for the requests of a slice. All threads call it.
template <int kThreads, int kItems, typename Visit>
__device__ __forceinline__ void for_each_in_slice(const NarrowTile<kThreads, kItems>& tile,
                                                  const WarpSums& sums, const SliceRange& range,
                                                  Visit&& visit) {
  const unsigned lane = threadIdx.x % 32;
#pragma unroll 1
  for (std::uint32_t base = range.begin + threadIdx.x - lane; base < range.end; base += kThreads) {
    const std::uint32_t r = base + lane;
    const std::uint32_t before =
        __shfl_sync(kAllLanes, sums.before, r / NarrowTile<kThreads, kItems>::kWarpItems);
    if (r < range.end) visit(r, before + tile.begin[r]);
  }
}

/// The request that a cut falls into.
struct NarrowSpot {
  std::uint32_t request = 0;
  std::uint32_t cost_begin = 0;
};

/// The last of `count` ascending numbers, the first of which counts as 0, that is at most `limit`;
/// they lie `stride` apart.
template <int kCount>
__device__ __forceinline__ std::uint32_t last_at_most(const std::uint32_t* numbers,
                                                      std::uint32_t stride, std::uint32_t limit) {
  // All loads at once: a round of shared memory takes longer than the comparisons.
  std::uint32_t found = 0;
#pragma unroll
  for (int i = 1; i < kCount; ++i) found += numbers[i * stride] <= limit ? 1 : 0;
  return found;
}

/// The last request that begins at or before `cost`. All lanes of a warp call it.
template <int kThreads, int kItems>
__device__ __forceinline__ NarrowSpot find_request(const NarrowTile<kThreads, kItems>& tile,
                                                   const WarpSums& sums, std::uint32_t cost) {
  using Tile = NarrowTile<kThreads, kItems>;
  std::uint32_t warp = 0;
  std::uint32_t before = 0;
#pragma unroll
  for (std::uint32_t step = 16; step > 0; step /= 2) {
    if (step >= Tile::kWarps) continue;
    const std::uint32_t begin = __shfl_sync(kAllLanes, sums.before, warp + step);
    // Warps without requests begin at the total, behind every cut.
    if (begin <= cost && warp + step < Tile::kWarps) {
      warp += step;
      before = begin;
    }
  }
  std::uint32_t request = warp * Tile::kWarpItems;
  const std::uint32_t left = cost - before;
  if constexpr (kItems > 1) {
    request += kItems * 4 * last_at_most<8>(tile.begin + request, kItems * 4, left);
    request += kItems * last_at_most<4>(tile.begin + request, kItems, left);
    request += last_at_most<kItems>(tile.begin + request, 1, left);
  } else {
    request += 8 * last_at_most<4>(tile.begin + request, 8, left);
    request += last_at_most<8>(tile.begin + request, 1, left);
  }
  return {request, before + tile.begin[request]};
}

/// Shared memory of a planning block.
template <int kThreads, int kItems>
struct NarrowSpace {
  NarrowTile<kThreads, kItems> tile;
  std::uint32_t passes[kThreads / 32];  ///< A bit for each worker, 31 in a word, at its lane.
};

/// A worker's partial results from the bits of all workers (plan/cut_search.h has the same for 32
/// workers in a word). A unit that worker o starts and o+1 to o+n continue has n + 1.
__device__ __forceinline__ uint2 narrow_partials(const std::uint32_t* passes, unsigned warp,
                                                 unsigned lane, bool continues, bool leaves,
                                                 bool passing) {
  constexpr std::uint32_t kWorkers = ~1u;  // lane 0 has none
  const std::uint32_t worker = warp * 31 + lane - 1;
  const std::uint32_t own = ~passes[warp] & kWorkers;
  // The first worker behind that does not pass is the last of the unit that this one leaves, the
  // last one before that does not is the owner of the unit that it continues.
  std::uint32_t behind = own & (0xfffffffeu << lane);
  std::uint32_t before = own & ((1u << lane) - 1);
  unsigned behind_word = warp;
  unsigned before_word = warp;
  if (leaves) {
    while (behind == 0) behind = ~passes[++behind_word] & kWorkers;
  }
  if (continues) {
    while (before == 0) before = ~passes[--before_word] & kWorkers;
  }
  const std::uint32_t last =
      behind_word * 31 + static_cast<unsigned>(__ffs(static_cast<int>(behind))) - 2;
  const std::uint32_t owner =
      before_word * 31 + 30 - static_cast<unsigned>(__clz(static_cast<int>(before)));
  const std::uint32_t continued = ((passing ? last : worker) - owner + 1) | owner << 16;
  return {continues ? continued : 0, leaves && !passing ? last - worker + 1 : 0};
}

template <int kThreads>
__device__ __forceinline__ void zero_counters(const NarrowTask& task, std::uint32_t slice,
                                              std::uint32_t shift) {
#pragma unroll 1
  for (std::uint32_t i = threadIdx.x + slice * kThreads; i < task.counter_words;
       i += kThreads << shift) {
    task.counters[i] = 0;
  }
}

/// Scans cost(len) over the requests that take part. Ends past a barrier.
template <int kThreads, int kItems, typename Cost>
__device__ __forceinline__ WarpSums scan_requests(const NarrowParams& p,
                                                  NarrowTile<kThreads, kItems>& tile,
                                                  std::uint32_t& count, Cost&& cost) {
  const unsigned lane = threadIdx.x % 32;
  const std::uint32_t place = threadIdx.x * kItems;
  const auto requests = static_cast<std::uint32_t>(p.work.num_requests);
  std::uint32_t lens[kItems];
  const std::int32_t stored_active = load_active(p.work);
  load_lens<kItems>(p.lens, requests, place, lens);
  std::uint32_t ignored = 0;  // reported by the blocks that place tokens
  count = checked_active(p.work, stored_active, ignored);
  std::uint32_t begins[kItems];
  std::uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    begins[i] = sum;
    const std::uint32_t own = cost(lens[i]);
    if (place + i < count) sum += own;
  }
  const std::uint32_t scanned = warp_inclusive_sum(sum, lane);
#pragma unroll
  for (int i = 0; i < kItems; ++i) begins[i] += scanned - sum;
  store_items<kItems>(tile.begin + place, begins);
  if (lane == 31) tile.warp_sums[threadIdx.x / 32] = scanned;
  __syncthreads();
  return warp_sums(tile, lane);
}

/// Writes the worker records of one class. All threads of the block call it, past the dependency
/// wait.
template <int kThreads, int kItems>
__device__ __forceinline__ void plan_workers_narrow(const NarrowParams& p, const NarrowTask& task,
                                                    NarrowSpace<kThreads, kItems>& space) {
  using Tile = NarrowTile<kThreads, kItems>;
  const plan::NarrowDivision& n = task.division;
  const plan::Division& d = n.base;
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const std::uint32_t tokens = p.lens.query_tokens;
  Tile& tile = space.tile;
  std::uint32_t count = 0;
  const WarpSums sums = scan_requests(p, tile, count, [&](std::uint32_t len) {
    return plan::narrow_request_cost(n, len, plan::first_visible_token(d, len, tokens));
  });
  const std::uint32_t active = plan::narrow_active_workers(n, sums.total);
  const plan::NarrowPace pace = plan::narrow_pace(n, sums.total, active > 0 ? active : 1);

  // The lane's cut, and how the workers beside it begin and end. Behind the last cut is the end of
  // the line: the start of a request that does not exist.
  const std::uint32_t c = warp * 31 + lane;
  const plan::NarrowPlace place = plan::narrow_place(pace, c < active ? c : 0);
  const NarrowSpot spot = find_request(tile, sums, place.cost);
  const std::uint32_t request = c < active ? spot.request : count;
  const std::uint32_t before = request > 0 ? request - 1 : 0;
  const auto length_of = [&](std::uint32_t r) {
    return p.lens.forced(r < count ? p.lens.stored[r] : 0);
  };
  const std::uint32_t len = length_of(request);
  const std::uint32_t len_before = length_of(before);
  const std::uint32_t len_behind = length_of(request + 1);
  const std::uint32_t first = plan::first_visible_token(d, len, tokens);
  plan::NarrowCut cut = plan::narrow_cut(n, len, first, spot.cost_begin, place);
  if (c >= active) cut = {0, 0, true, false};
  std::uint32_t begin_request = request, begin_unit = cut.unit, begin_tile = cut.tile;
  if (cut.at_end) {
    const bool next = cut.unit + 1 == n.units;
    begin_request += next ? 1 : 0;
    begin_unit = next ? 0 : cut.unit + 1;
    begin_tile =
        plan::first_tile(d, next ? plan::first_visible_token(d, len_behind, tokens) : first);
  }
  std::uint32_t end_request = request, end_unit = cut.unit, end_tile = cut.tile;
  if (cut.at_start) {
    const bool previous = cut.unit == 0;
    end_request = previous ? before : request;
    end_unit = (previous ? n.units : cut.unit) - 1;
    end_tile = plan::end_tile(d, previous ? len_before : len);
  }
  const bool inside = !cut.at_start && !cut.at_end;
  begin_request = __shfl_up_sync(kAllLanes, begin_request, 1);
  begin_unit = __shfl_up_sync(kAllLanes, begin_unit, 1);
  begin_tile = __shfl_up_sync(kAllLanes, begin_tile, 1);
  const std::uint32_t insides = __ballot_sync(kAllLanes, inside);
  const bool continues = ((insides << 1) >> lane & 1) != 0;
  const bool passing =
      continues && inside && begin_request == end_request && begin_unit == end_unit;
  const std::uint32_t passes = __ballot_sync(kAllLanes, passing);
  if (lane == 0) space.passes[warp] = passes;
  __syncthreads();
  const std::uint32_t w = c - 1;
  if (lane > 0 && w < d.workers) {
    uint4 low = {};
    uint4 high = {};
    if (w < active) {
      const uint2 partials = narrow_partials(space.passes, warp, lane, continues, inside, passing);
      low = {d.stamp, begin_request, begin_tile, end_request};
      high = {end_tile, begin_unit | end_unit << 16, partials.x, partials.y};
    }
    auto* out = reinterpret_cast<uint4*>(task.plan + sizeof(PlanHeader)) + std::size_t{2} * w;
    out[0] = low;
    out[1] = high;
  }
}

/// Writes a slice of one class's request records, and with the first one the header.
template <int kThreads, int kItems>
__device__ __forceinline__ void plan_requests_narrow(const NarrowParams& p, const NarrowTask& task,
                                                     std::uint32_t slice,
                                                     NarrowTile<kThreads, kItems>& tile) {
  const plan::NarrowDivision& n = task.division;
  const std::uint32_t tokens = p.lens.query_tokens;
  std::uint32_t count = 0;
  const WarpSums sums = scan_requests(p, tile, count, [&](std::uint32_t len) {
    return plan::narrow_request_cost(n, len, plan::first_visible_token(n.base, len, tokens));
  });
  const PlanHeader& header = task.header;
  auto* records = reinterpret_cast<uint4*>(task.plan + header.requests_offset);
  auto* queries = reinterpret_cast<std::uint32_t*>(task.plan + header.queries_offset);
  for_each_in_slice(
      tile, sums, slice_of(count, slice, p.slice_shift),
      [&](std::uint32_t r, std::uint32_t cost_begin) {
        const std::uint32_t len = p.lens.forced(p.lens.stored[r]);
        records[r] = {cost_begin, 0, len, plan::first_visible_token(n.base, len, tokens)};
        queries[r] = r * tokens;
      });
  if (slice == 0 && threadIdx.x == kThreads - 1) {
    auto* out = reinterpret_cast<uint4*>(task.plan);
    out[0] = {header.stamp, header.version, count, plan::narrow_active_workers(n, sums.total)};
    out[1] = {sums.total, 0, header.workers, header.capacity};
    out[2] = {header.workers_offset, header.requests_offset, header.queries_offset,
              header.size_bytes};
    out[3] = {0, 0, 0, 0};
    records[count] = {sums.total, 0, 0, 0};
    queries[count] = count * tokens;
  }
}

}  // namespace onebeat::cuda
