// SPDX-License-Identifier: Apache-2.0
// How a step's attention work is divided: a parallel stream-K in integers, shared by the host and
// the device planner.
//
// All costs are in 1/256 tile. Units (request, KV head, query tile) lie one behind the other on a
// line of length `total`: request by request, KV head by KV head, query tile by query tile. A unit
// costs `overhead` and then 256 for each tile. Active worker w of A takes the line from w*total/A
// to (w+1)*total/A, each cut moved to a place where cutting is allowed. To stay exact, positions of
// cuts are scaled by A: cut w lies at w*total, and a unit that begins at cost c begins at c*A. The
// quotients below are floors of exact integers, so host and device agree to the bit.
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

/// The request that cut w falls into is the last one for which this holds.
ONEBEAT_HD constexpr bool begins_at_or_before_cut(std::uint64_t cost_begin, std::uint64_t total,
                                                  std::uint32_t active, std::uint32_t worker) {
  return cost_begin * active <= total * worker;
}

/// A place on the line: before tile `tile` of a unit. tile == first tile: the unit's start; == end
/// tile: its end.
struct Cut {
  std::uint32_t request = 0;
  std::uint32_t unit = 0;
  std::uint32_t tile = 0;
};

/// Moves a place inside a unit of tiles [first, end), `offset` behind the unit's start and scaled
/// by `active`, to the nearest multiple of the grain, and to an end of the unit if a shorter piece
/// than min_tiles would be cut off.
ONEBEAT_HD constexpr std::uint32_t snapped_tile(const Division& d, std::uint32_t first,
                                                std::uint32_t end, std::uint64_t offset,
                                                std::uint32_t active) {
  const std::uint64_t overhead = std::uint64_t{d.overhead} * active;
  if (first == end || offset <= overhead) return first;
  const std::uint64_t tile_cost = std::uint64_t{kTileCost} * active;
  const std::uint64_t grain_cost = tile_cost * d.grain_tiles;
  const std::uint64_t position = tile_cost * first + (offset - overhead);
  const std::uint64_t nearest = (2 * position + grain_cost) / (2 * grain_cost) * d.grain_tiles;
  if (nearest <= first) return first;
  if (nearest >= end) return end;
  const auto tile = static_cast<std::uint32_t>(nearest);
  const std::uint32_t head = tile - first;
  const std::uint32_t tail = end - tile;
  if (head >= d.min_tiles && tail >= d.min_tiles) return tile;
  return head < tail ? first : end;
}

/// Cut w of `active`, which falls into request `r` with this record. Requires: the request has
/// units.
ONEBEAT_HD constexpr Cut cut_in_request(const Division& d, std::uint32_t r,
                                        const RequestRecord& record, std::uint64_t total,
                                        std::uint32_t active, std::uint32_t worker) {
  const std::uint64_t offset = total * worker - record.cost_begin * active;
  const std::uint64_t unit_length = unit_cost(d, record.len, record.first) * active;
  const std::uint64_t unit = offset / unit_length;
  const std::uint32_t tile = snapped_tile(d, first_tile(d, record.first), end_tile(d, record.len),
                                          offset - unit * unit_length, active);
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
