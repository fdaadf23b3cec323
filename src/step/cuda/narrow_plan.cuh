// SPDX-License-Identifier: Apache-2.0
// The device planner of a narrow step (plan/narrow_division.h), made for latency: what a small step
// waits for is the number of instructions that one warp executes in a row, not arithmetic or bytes.
// Every block scans all requests for itself, finds all cuts, and writes its slice of the plan, so
// no block waits for another.
//
// Order: (1) lengths, costs, their sums (narrow_requests.cuh); (2) every lane finds one cut, a
// warp's lanes share them with their neighbours (31 workers a warp), barrier; (3) partial results.
// A cut and what lies beside it are computed without branches: independent instructions overlap,
// branches do not.
#pragma once

#include <cstdint>

#include "onebeat/plan.h"
#include "plan/narrow_division.h"
#include "step/cuda/narrow_params.h"
#include "step/cuda/narrow_requests.cuh"

namespace onebeat::cuda {

/// Shared memory of a planning block: a bit for each worker, 31 in a word, at its lane.
template <int kThreads>
struct PassBits {
  std::uint32_t words[kThreads / 32];
};

/// The lane's cut, and how the workers beside it begin and end.
struct WorkerEdge {
  std::uint32_t begin_request, begin_unit, begin_tile;
  std::uint32_t end_request, end_unit, end_tile;
  bool inside = false;  ///< Of a unit.
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

/// Edge `c` of `active` workers; the one behind the last is the end of the line, the start of a
/// request that does not exist. All lanes of a warp call it.
template <typename Requests>
__device__ __forceinline__ WorkerEdge edge_of(const NarrowParams& p, const plan::NarrowDivision& n,
                                              const Requests& requests,
                                              const plan::NarrowPace& pace, std::uint32_t c,
                                              std::uint32_t active) {
  const plan::Division& d = n.base;
  const bool exists = c < active;
  const plan::NarrowPlace place = plan::narrow_place(pace, exists ? c : 0);
  const NarrowSpot spot = requests.find(place.cost);
  const std::uint32_t request = exists ? spot.request : requests.count();
  const std::uint32_t before = request > 0 ? request - 1 : 0;
  const auto length_of = [&](std::uint32_t r) {
    return p.lens.forced(r < requests.count() ? p.lens.stored[r] : 0);
  };
  const std::uint32_t len = length_of(request);
  const std::uint32_t len_before = length_of(before);
  const std::uint32_t len_behind = length_of(request + 1);
  const std::uint32_t first = plan::narrow_first(n, len);
  const std::uint32_t first_behind = plan::narrow_first(n, len_behind);

  plan::NarrowCut cut = plan::narrow_cut(n, len, first, spot.cost_begin, place);
  if (!exists) cut = {0, 0, true, false};
  const bool next = cut.at_end && cut.unit + 1 == n.units;
  const bool previous = cut.at_start && cut.unit == 0;
  const std::uint32_t next_tile = plan::first_tile(d, next ? first_behind : first);
  const std::uint32_t previous_tile = plan::narrow_end_tile(n, previous ? len_before : len);
  WorkerEdge edge;
  edge.begin_request = request + (next ? 1 : 0);
  edge.begin_unit = next ? 0 : cut.unit + (cut.at_end ? 1 : 0);
  edge.begin_tile = cut.at_end ? next_tile : cut.tile;
  edge.end_request = previous ? before : request;
  edge.end_unit = (previous ? n.units : cut.unit) - (cut.at_start ? 1 : 0);
  edge.end_tile = cut.at_start ? previous_tile : cut.tile;
  edge.inside = !cut.at_start && !cut.at_end;
  return edge;
}

/// Writes the worker records of one class. All threads of the block call it, past the dependency
/// wait.
template <int kThreads, typename Requests>
__device__ __forceinline__ void plan_workers_narrow(const NarrowParams& p, const NarrowTask& task,
                                                    typename Requests::Space& space,
                                                    PassBits<kThreads>& bits) {
  const plan::NarrowDivision& n = task.division;
  const plan::Division& d = n.base;
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const Requests requests(p, space,
                          [&](std::uint32_t len) { return plan::narrow_request_cost(n, len); });
  const std::uint32_t active = plan::narrow_active_workers(n, requests.total());
  const plan::NarrowPace pace = plan::narrow_pace(n, requests.total(), active > 0 ? active : 1);

  // The worker of a lane begins at the edge of the lane before and ends at its own.
  const std::uint32_t c = warp * 31 + lane;
  const WorkerEdge edge = edge_of(p, n, requests, pace, c, active);
  const std::uint32_t begin_request = __shfl_up_sync(kAllLanes, edge.begin_request, 1);
  const std::uint32_t begin_unit = __shfl_up_sync(kAllLanes, edge.begin_unit, 1);
  const std::uint32_t begin_tile = __shfl_up_sync(kAllLanes, edge.begin_tile, 1);
  const std::uint32_t insides = __ballot_sync(kAllLanes, edge.inside);
  const bool continues = ((insides << 1) >> lane & 1) != 0;
  const bool passing =
      continues && edge.inside && begin_request == edge.end_request && begin_unit == edge.end_unit;
  const std::uint32_t passes = __ballot_sync(kAllLanes, passing);
  if (lane == 0) bits.words[warp] = passes;
  __syncthreads();
  const std::uint32_t w = c - 1;
  if (lane > 0 && w < d.workers) {
    uint4 low = {};
    uint4 high = {};
    if (w < active) {
      const uint2 partials =
          narrow_partials(bits.words, warp, lane, continues, edge.inside, passing);
      low = {d.stamp, begin_request, begin_tile, edge.end_request};
      high = {edge.end_tile, begin_unit | edge.end_unit << 16, partials.x, partials.y};
    }
    auto* out = reinterpret_cast<uint4*>(task.plan + sizeof(PlanHeader)) + std::size_t{2} * w;
    out[0] = low;
    out[1] = high;
  }
}

/// Writes a slice of one class's request records, and with the first one the header.
template <int kThreads, typename Requests>
__device__ __forceinline__ void plan_requests_narrow(const NarrowParams& p, const NarrowTask& task,
                                                     std::uint32_t slice,
                                                     typename Requests::Space& space) {
  const plan::NarrowDivision& n = task.division;
  const std::uint32_t tokens = p.lens.query_tokens;
  const Requests requests(p, space,
                          [&](std::uint32_t len) { return plan::narrow_request_cost(n, len); });
  const std::uint32_t count = requests.count();
  const std::uint32_t total = requests.total();
  const PlanHeader& header = task.header;
  auto* records = reinterpret_cast<uint4*>(task.plan + header.requests_offset);
  auto* queries = reinterpret_cast<std::uint32_t*>(task.plan + header.queries_offset);
  requests.for_each(slice_of(count, slice, p.slice_shift),
                    [&](std::uint32_t r, std::uint32_t cost_begin) {
                      const std::uint32_t len = p.lens.forced(p.lens.stored[r]);
                      records[r] = {cost_begin, 0, len, plan::narrow_first(n, len)};
                      queries[r] = r * tokens;
                    });
  if (slice == 0 && threadIdx.x == kThreads - 1) {
    auto* out = reinterpret_cast<uint4*>(task.plan);
    out[0] = {header.stamp, header.version, count, plan::narrow_active_workers(n, total)};
    out[1] = {total, 0, header.workers, header.capacity};
    out[2] = {header.workers_offset, header.requests_offset, header.queries_offset,
              header.size_bytes};
    out[3] = {0, 0, 0, 0};
    records[count] = {total, 0, 0, 0};
    queries[count] = count * tokens;
  }
}

}  // namespace onebeat::cuda
