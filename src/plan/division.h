// SPDX-License-Identifier: Apache-2.0
// How a step's attention work is divided: a parallel stream-K in integers, shared by the host and
// the device planner.
//
// All costs are in 1/256 tile. Units (request, KV head, query tile) lie one behind the other on a
// line of length `total`: request by request, KV head by KV head, query tile by query tile. A unit
// costs `overhead` and then 256 for each tile. Active worker w of A takes the line from w*total/A
// to (w+1)*total/A, each cut moved to a place where cutting is allowed. Quotients are floors of
// exact integers; what a floor drops is kept as one bit where it matters. So host and device agree
// to the bit, however each of them divides.
//
// Invariants (proved in docs/plan_format.md, checked by check_plan):
// 1. Moving cuts keeps their order. 2. No active worker is empty. 3. A worker's cost, every segment
// with its overhead, is at most total/A + worker_cost_slack().
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "onebeat/geometry.h"
#include "onebeat/plan.h"

namespace onebeat::plan {

/// 1/256 tile is the unit of cost.
inline constexpr std::uint32_t kTileCost = 256;

/// What the arithmetic needs of geometry, cost model and limits; trivially copyable, passed to the
/// device as it is.
struct Division {
  std::uint32_t stamp = 0;
  std::uint32_t workers = 0;
  std::uint32_t capacity = 0;  ///< Largest B.
  std::uint32_t max_context_tokens = 0;
  std::uint32_t max_query_tokens = 1;
  std::uint32_t kv_heads = 1;
  std::uint32_t heads_per_kv_head = 1;  ///< R
  std::uint32_t tile_shift = 6;         ///< log2 N
  std::uint32_t grain_tiles = 1;        ///< Units are cut at multiples of this many tiles.
  std::uint32_t min_tiles = 1;
  std::uint32_t overhead = 1;
  std::uint32_t min_worker_cost = 1;
  std::int32_t window_left = -1;
  std::uint32_t chunk_tokens = 0;
  std::uint64_t workers_reciprocal = ~std::uint64_t{0};  ///< floor((2^64 - 1) / workers)
};

/// Least cost of a worker for which no cut can meet its neighbour: both may move towards each other
/// by less than min_tiles - 1 + grain/2 tiles, and one of them over an overhead.
ONEBEAT_HD constexpr std::uint64_t smallest_worker_cost(const Division& d) {
  return std::uint64_t{kTileCost} * (2 * (d.min_tiles - 1) + d.grain_tiles) + d.overhead;
}

/// By how much a worker may exceed the mean.
ONEBEAT_HD constexpr std::uint64_t worker_cost_slack(const Division& d) {
  return smallest_worker_cost(d);
}

/// First KV token that any query of a request sees. Its earliest query stands at len -
/// query_tokens.
ONEBEAT_HD constexpr std::uint32_t first_visible_token(const Division& d, std::uint32_t len,
                                                       std::uint32_t query_tokens) {
  const std::uint32_t earliest = len > query_tokens ? len - query_tokens : 0;
  std::uint32_t first = 0;
  if (d.window_left >= 0) {
    const auto window = static_cast<std::uint32_t>(d.window_left);
    first = earliest > window ? earliest - window : 0;
  }
  if (d.chunk_tokens > 0) {
    const std::uint32_t chunk_begin = earliest / d.chunk_tokens * d.chunk_tokens;
    first = chunk_begin > first ? chunk_begin : first;
  }
  return len == 0 ? 0 : first;
}

/// First tile of a request, by absolute position.
ONEBEAT_HD constexpr std::uint32_t first_tile(const Division& d, std::uint32_t first) {
  return first >> d.tile_shift;
}

/// One past the last tile of a request; equal to its first tile if len is 0.
ONEBEAT_HD constexpr std::uint32_t end_tile(const Division& d, std::uint32_t len) {
  return (len >> d.tile_shift) + ((len & ((1u << d.tile_shift) - 1)) != 0 ? 1u : 0u);
}

ONEBEAT_HD constexpr std::uint32_t query_tiles_of(std::uint32_t heads_per_kv_head,
                                                  std::uint32_t query_tokens) {
  return (heads_per_kv_head * query_tokens + kQueryTileRows - 1) / kQueryTileRows;
}

ONEBEAT_HD constexpr std::uint32_t units_of(const Division& d, std::uint32_t query_tokens) {
  return d.kv_heads * query_tiles_of(d.heads_per_kv_head, query_tokens);
}

ONEBEAT_HD constexpr std::uint64_t unit_cost(const Division& d, std::uint32_t len,
                                             std::uint32_t first) {
  return std::uint64_t{kTileCost} * (end_tile(d, len) - first_tile(d, first)) + d.overhead;
}

/// W_active: as many workers as have at least min_worker_cost each; at least 1 if there is any
/// work.
ONEBEAT_HD constexpr std::uint32_t active_workers(const Division& d, std::uint64_t total) {
  if (total == 0) return 0;
  if (total >= std::uint64_t{d.min_worker_cost} * d.workers) return d.workers;  // no division
  const std::uint64_t enough = total / d.min_worker_cost;
  return enough < 1 ? 1 : enough < d.workers ? static_cast<std::uint32_t>(enough) : d.workers;
}

/// High 64 bits of a product.
ONEBEAT_HD constexpr std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
#ifdef __CUDA_ARCH__
  return __umul64hi(a, b);
#else
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(a) * b) >> 64);
#endif
}

/// What all cuts share: twice the mean cost of a worker is quotient + remainder / active.
struct Pace {
  std::uint64_t quotient = 0;
  std::uint32_t remainder = 0;
  std::uint32_t active = 1;
};

/// Requires: active > 0. The usual divisor, all workers, needs no division (it is slow on a
/// device).
ONEBEAT_HD constexpr Pace pace_of(const Division& d, std::uint64_t total, std::uint32_t active) {
  Pace pace;
  pace.active = active;
  if (active == d.workers) {
    pace.quotient = multiply_high(2 * total, d.workers_reciprocal);  // at most 2 too low
    while (2 * total - pace.quotient * active >= active) ++pace.quotient;
  } else {
    pace.quotient = 2 * total / active;
  }
  pace.remainder = static_cast<std::uint32_t>(2 * total - pace.quotient * active);
  return pace;
}

/// Where cut w lies on the line: at halves / 2 or, unless exact, less than 1/2 behind it. Doubled,
/// so that rounding to the nearest tile needs nothing behind the point.
struct CutPlace {
  std::uint64_t halves = 0;
  bool exact = true;
};

ONEBEAT_HD constexpr CutPlace place_of_cut(const Pace& pace, std::uint32_t worker) {
  const std::uint32_t rest = pace.remainder * worker;  // below 2^24
  const std::uint32_t carry = rest / pace.active;
  return {pace.quotient * worker + carry, carry * pace.active == rest};
}

/// The request that a cut falls into is the last one for which this holds.
ONEBEAT_HD constexpr bool begins_at_or_before_cut(std::uint64_t cost_begin, const CutPlace& place) {
  return 2 * cost_begin <= place.halves;
}

/// A place on the line: before tile `tile` of a unit. tile == first tile: the unit's start; == end
/// tile: its end.
struct Cut {
  std::uint32_t request = 0;
  std::uint32_t unit = 0;
  std::uint32_t tile = 0;
};

/// Moves a place inside a unit of tiles [first, end), `halves` / 2 behind the unit's start (see
/// CutPlace), to the nearest multiple of the grain, and to an end of the unit if a shorter piece
/// than min_tiles would be cut off.
ONEBEAT_HD constexpr std::uint32_t snapped_tile(const Division& d, std::uint32_t first,
                                                std::uint32_t end, std::uint64_t halves,
                                                bool exact) {
  const std::uint64_t overhead = 2 * std::uint64_t{d.overhead};
  if (first == end || halves < overhead || (halves == overhead && exact)) return first;
  const std::uint64_t grain = std::uint64_t{kTileCost} * d.grain_tiles;
  const std::uint64_t rounded = 2 * std::uint64_t{kTileCost} * first + (halves - overhead) + grain;
  const std::uint64_t nearest =
      d.grain_tiles == 1 ? rounded / (2 * kTileCost) : rounded / (2 * grain) * d.grain_tiles;
  if (nearest <= first) return first;
  if (nearest >= end) return end;
  const auto tile = static_cast<std::uint32_t>(nearest);
  const std::uint32_t head = tile - first;
  const std::uint32_t tail = end - tile;
  if (head >= d.min_tiles && tail >= d.min_tiles) return tile;
  return head < tail ? first : end;
}

/// The cut at `place`, which falls into request `r` with this record. Requires: the request has
/// units.
ONEBEAT_HD constexpr Cut cut_in_request(const Division& d, std::uint32_t r,
                                        const RequestRecord& record, const CutPlace& place) {
  const std::uint64_t offset = place.halves - 2 * record.cost_begin;
  const std::uint64_t unit_length = 2 * unit_cost(d, record.len, record.first);
  const std::uint64_t unit = offset / unit_length;
  const std::uint32_t tile = snapped_tile(d, first_tile(d, record.first), end_tile(d, record.len),
                                          offset - unit * unit_length, place.exact);
  return {r, static_cast<std::uint32_t>(unit), tile};
}

/// Whether a cut stands at the start of its unit.
ONEBEAT_HD constexpr bool at_unit_start(const Division& d, const Cut& cut,
                                        const RequestRecord& record) {
  return cut.tile == first_tile(d, record.first);
}

/// Whether a cut stands at the end of its unit.
ONEBEAT_HD constexpr bool at_unit_end(const Division& d, const Cut& cut,
                                      const RequestRecord& record) {
  return !at_unit_start(d, cut, record) && cut.tile == end_tile(d, record.len);
}

/// Order of units on the line, for searching.
ONEBEAT_HD constexpr std::uint64_t unit_key(std::uint32_t request, std::uint32_t unit) {
  return (std::uint64_t{request} << 32) | unit;
}

/// Where the sections of a plan lie.
struct Layout {
  std::uint32_t workers_offset = 0;
  std::uint32_t requests_offset = 0;
  std::uint32_t queries_offset = 0;
  std::uint32_t size_bytes = 0;
};

ONEBEAT_HD constexpr Layout layout_of(std::uint32_t workers, std::uint32_t capacity) {
  Layout layout;
  layout.workers_offset = static_cast<std::uint32_t>(sizeof(PlanHeader));
  layout.requests_offset =
      layout.workers_offset + workers * static_cast<std::uint32_t>(sizeof(WorkerRecord));
  layout.queries_offset =
      layout.requests_offset + (capacity + 1) * static_cast<std::uint32_t>(sizeof(RequestRecord));
  layout.size_bytes = (layout.queries_offset + (capacity + 1) * 4 + 15) / 16 * 16;
  return layout;
}

/// The header of a plan with this many requests and this total.
ONEBEAT_HD constexpr PlanHeader header_of(const Division& d, std::uint32_t num_active,
                                          std::uint64_t total) {
  const Layout layout = layout_of(d.workers, d.capacity);
  PlanHeader header;
  header.stamp = d.stamp;
  header.version = kPlanVersion;
  header.num_active = num_active;
  header.workers_active = active_workers(d, total);
  header.total_cost = total;
  header.workers = d.workers;
  header.capacity = d.capacity;
  header.workers_offset = layout.workers_offset;
  header.requests_offset = layout.requests_offset;
  header.queries_offset = layout.queries_offset;
  header.size_bytes = layout.size_bytes;
  return header;
}

/// The arithmetic's constants for one class. Requires: validate(geometry), checked cost model and
/// limits.
[[nodiscard]] Division make_division(const AttentionGeometry& geometry, const CostModel& cost,
                                     const PlanLimits& limits);

}  // namespace onebeat::plan
