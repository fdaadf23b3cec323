// SPDX-License-Identifier: Apache-2.0
// The device planner: one block makes the plan of one class. A prefix sum over the requests' costs,
// then every thread searches one cut (cut_search.h). Requests are read in tiles of the
// block; a batch of one tile keeps its records in shared memory for the search, a larger one
// searches what it has written. The bytes are those of the CPU planner.
//
// Order: (1) scan and request records, barrier; (2) a cut for every thread, barrier; (3) the worker
// between a thread's cut and its neighbour's, and bits on how it touches its units, barrier;
// (4) partial results from those bits.
#pragma once

#include <cstdint>

#include "device/block_scan.cuh"
#include "onebeat/plan.h"
#include "plan/cut_search.h"
#include "plan/division.h"

namespace onebeat::cuda {

inline constexpr std::uint32_t kMaxPlanWorkers = 4096;

/// Most threads of a planning block.
inline constexpr std::uint32_t kMaxPlanThreads = 512;

/// A cut as neighbours exchange it.
struct alignas(16) SharedCut {
  std::uint32_t request;
  std::uint32_t tile;
  std::uint32_t unit;
  std::uint32_t flags;  ///< 1: inside, 2: at_start.
};

__device__ __forceinline__ SharedCut packed(const plan::FoundCut& found) {
  return {found.cut.request, found.cut.tile, found.cut.unit,
          (found.inside ? 1u : 0u) | (found.at_start ? 2u : 0u)};
}

__device__ __forceinline__ plan::FoundCut unpacked(const SharedCut& cut) {
  return {{cut.request, cut.unit, cut.tile}, (cut.flags & 1) != 0, (cut.flags & 2) != 0};
}

/// Shared memory of a planning block besides the request records.
struct PlanSpace {
  ScanSpace scan;
  SharedCut cuts[kMaxPlanThreads + 1];  // [0]: the last cut of the pass before
  // One bit per worker, at the place of the cut where it ends.
  std::uint32_t continues[(kMaxPlanWorkers + 1) / 32 + 1];
  std::uint32_t leaves[(kMaxPlanWorkers + 1) / 32 + 1];
  std::uint32_t passes[(kMaxPlanWorkers + 1) / 32 + 1];
};

/// Place of a tile's request in shared memory: a gap after every eighth, so that threads which
/// write several neighbours each do not meet in the same banks.
ONEBEAT_HD constexpr std::uint32_t tile_place(std::uint32_t request) {
  return request + request / 8;
}

/// Bytes of shared memory behind a PlanSpace for a tile's request records and query offsets, and
/// one more of each.
ONEBEAT_HD constexpr std::uint32_t tile_bytes(std::uint32_t tile_size) {
  return (tile_place(tile_size) + 1) *
         static_cast<std::uint32_t>(sizeof(RequestRecord) + sizeof(std::uint32_t));
}

/// Requests as the search reads them: from a tile, or from the plan itself.
template <bool kFromTile>
class SearchedRequests {
 public:
  ONEBEAT_HD SearchedRequests(const RequestRecord* records, const std::uint32_t* query_begin,
                              std::uint32_t count)
      : records_(records), query_begin_(query_begin), count_(count) {}
  ONEBEAT_HD std::uint32_t count() const { return count_; }
  ONEBEAT_HD std::uint64_t cost_begin(std::uint32_t r) const {
    return records_[place(r)].cost_begin;
  }
  ONEBEAT_HD RequestRecord record(std::uint32_t r) const { return records_[place(r)]; }
  ONEBEAT_HD std::uint32_t query_tokens(std::uint32_t r) const {
    return query_begin_[place(r + 1)] - query_begin_[place(r)];
  }

 private:
  ONEBEAT_HD static constexpr std::uint32_t place(std::uint32_t r) {
    return kFromTile ? tile_place(r) : r;
  }

  const RequestRecord* records_;
  const std::uint32_t* query_begin_;
  std::uint32_t count_;
};

__device__ __forceinline__ void store_record(RequestRecord* out, std::uint64_t cost_begin,
                                             std::uint32_t len, std::uint32_t first) {
  *reinterpret_cast<uint4*>(out) = uint4{static_cast<std::uint32_t>(cost_begin),
                                         static_cast<std::uint32_t>(cost_begin >> 32), len, first};
}

/// Writes request records and query offsets; leaves those of the last tile in shared memory, with
/// the final record behind them. `read(b)` gives len and query_tokens of any request b < capacity;
/// `count()` how many of them take part, asked for after the first tile's loads have been sent off.
/// Returns the total cost. Ends past a barrier.
template <int kItems, typename Read, typename Count>
__device__ __forceinline__ std::uint64_t plan_requests(
    const plan::Division& d, Read&& read, std::uint32_t capacity, Count&& count_of,
    std::uint32_t& count, RequestRecord* out_records, std::uint32_t* out_queries,
    RequestRecord* tile_records, std::uint32_t* tile_queries, ScanSpace& space) {
  const std::uint32_t tile_size = blockDim.x * kItems;
  ScanPair carry;
  std::uint32_t base = 0;
  do {
    if (base > 0) __syncthreads();  // the tile's memory is written again
    const std::uint32_t place = threadIdx.x * kItems;
    std::uint64_t costs[kItems];
    std::uint32_t tokens[kItems], lens[kItems], firsts[kItems];
    ScanPair sum;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      tokens[i] = lens[i] = 0;
      const std::uint32_t b = base + place + static_cast<std::uint32_t>(i);
      if (b < capacity) {
        const auto request = read(b);
        tokens[i] = request.query_tokens;
        lens[i] = request.len;
      }
    }
    if (base == 0) count = count_of();
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      costs[i] = 0;
      firsts[i] = 0;
      const std::uint32_t b = base + place + static_cast<std::uint32_t>(i);
      if (b < count) {
        firsts[i] = plan::first_visible_token(d, lens[i], tokens[i]);
        costs[i] = plan::units_of(d, tokens[i]) * plan::unit_cost(d, lens[i], firsts[i]);
      } else {
        tokens[i] = lens[i] = 0;
      }
      sum.wide += costs[i];
      sum.narrow += tokens[i];
    }
    ScanPair tile_total;
    ScanPair begin = block_exclusive_sum(sum, tile_total, space);
    begin.wide += carry.wide;
    begin.narrow += carry.narrow;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const std::uint32_t at = tile_place(place + static_cast<std::uint32_t>(i));
      store_record(tile_records + at, begin.wide, lens[i], firsts[i]);
      tile_queries[at] = begin.narrow;
      begin.wide += costs[i];
      begin.narrow += tokens[i];
    }
    carry.wide += tile_total.wide;
    carry.narrow += tile_total.narrow;
    if (threadIdx.x == 0) {
      store_record(tile_records + tile_place(tile_size), carry.wide, 0, 0);
      tile_queries[tile_place(tile_size)] = carry.narrow;
    }
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; i < tile_size && base + i < count; i += blockDim.x) {
      reinterpret_cast<uint4*>(out_records)[base + i] =
          reinterpret_cast<uint4*>(tile_records)[tile_place(i)];
      out_queries[base + i] = tile_queries[tile_place(i)];
    }
    base += tile_size;
  } while (base < count);
  if (threadIdx.x == 0) {
    store_record(out_records + count, carry.wide, 0, 0);
    out_queries[count] = carry.narrow;
  }
  return carry.wide;
}

/// Writes all worker records. Requires: a barrier since the requests were written.
template <typename Requests>
__device__ __forceinline__ void plan_workers(const plan::Division& d, const Requests& requests,
                                             std::uint64_t total, WorkerRecord* workers,
                                             PlanSpace& space) {
  const std::uint32_t active = plan::active_workers(d, total);
  const plan::Pace pace = active > 0 ? plan::pace_of(d, total, active) : plan::Pace{};
  // A thread finds one cut and writes the worker that ends there. Without work there is no cut.
  for (std::uint32_t base = 0; active > 0 && base <= active; base += blockDim.x) {
    const std::uint32_t c = base + threadIdx.x;
    plan::FoundCut found;
    if (c <= active) found = plan::find_cut(d, requests, pace, c);
    if (base > 0) {
      if (threadIdx.x == 0) space.cuts[0] = space.cuts[blockDim.x];
      __syncthreads();
    }
    space.cuts[threadIdx.x + 1] = packed(found);
    __syncthreads();
    plan::WorkerShare share;
    if (c >= 1 && c <= active) {
      share = plan::share_between(d, requests, unpacked(space.cuts[threadIdx.x]), found);
      const WorkerRecord& record = share.record;
      WorkerRecord* out = workers + (c - 1);
      // The last 8 bytes, the partial results, follow below.
      *reinterpret_cast<uint4*>(out) =
          uint4{record.stamp, record.begin_request, record.begin_tile, record.end_request};
      reinterpret_cast<uint2*>(out)[2] =
          uint2{record.end_tile, record.begin_unit | (std::uint32_t{record.end_unit} << 16)};
    }
    const std::uint32_t continues = __ballot_sync(0xffffffffu, share.continues);
    const std::uint32_t leaves = __ballot_sync(0xffffffffu, share.leaves);
    const std::uint32_t passes = __ballot_sync(0xffffffffu, share.passes);
    if (threadIdx.x % 32 == 0 && c <= active) {
      space.continues[c / 32] = continues;
      space.leaves[c / 32] = leaves;
      space.passes[c / 32] = passes;
    }
  }
  __syncthreads();
  for (std::uint32_t w = threadIdx.x; w < d.workers; w += blockDim.x) {
    auto* out = reinterpret_cast<uint4*>(workers + w);
    if (w >= active) {
      out[0] = uint4{0, 0, 0, 0};
      out[1] = uint4{0, 0, 0, 0};
      continue;
    }
    const std::uint32_t word = (w + 1) / 32;
    const std::uint32_t bit = 1u << ((w + 1) % 32);
    WorkerRecord record;
    plan::set_partials(record, (space.continues[word] & bit) != 0, (space.leaves[word] & bit) != 0,
                       (space.passes[word] & bit) != 0, space.passes, w);
    const std::uint32_t low =
        record.continued_partials | (std::uint32_t{record.continued_owner} << 16);
    reinterpret_cast<uint2*>(out)[3] = uint2{low, record.started_partials};
  }
}

/// Makes one plan. All threads of the block call it; for `read` and `count_of` see plan_requests().
/// kOneTile: capacity <= blockDim.x * kItems.
template <int kItems, bool kOneTile, typename Read, typename Count>
__device__ __forceinline__ void plan_class(const plan::Division& d, std::byte* plan, Read&& read,
                                           std::uint32_t capacity, Count&& count_of,
                                           PlanSpace& space, std::byte* tile_space) {
  const plan::Layout layout = plan::layout_of(d.workers, d.capacity);
  auto* records = reinterpret_cast<RequestRecord*>(plan + layout.requests_offset);
  auto* queries = reinterpret_cast<std::uint32_t*>(plan + layout.queries_offset);
  auto* workers = reinterpret_cast<WorkerRecord*>(plan + layout.workers_offset);
  const std::uint32_t tile_size = blockDim.x * kItems;
  auto* tile_records = reinterpret_cast<RequestRecord*>(tile_space);
  auto* tile_queries = reinterpret_cast<std::uint32_t*>(tile_records + tile_place(tile_size) + 1);

  std::uint32_t count = 0;
  const std::uint64_t total = plan_requests<kItems>(
      d, read, capacity, count_of, count, records, queries, tile_records, tile_queries, space.scan);
  if (threadIdx.x == 0) {
    *reinterpret_cast<PlanHeader*>(plan) = plan::header_of(d, count, total);
  }
  if constexpr (kOneTile) {
    plan_workers(d, SearchedRequests<true>(tile_records, tile_queries, count), total, workers,
                 space);
  } else {
    __syncthreads();
    plan_workers(d, SearchedRequests<false>(records, queries, count), total, workers, space);
  }
}

}  // namespace onebeat::cuda
