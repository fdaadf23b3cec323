// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <limits>

#include "base/error.h"
#include "onebeat/plan.h"
#include "plan/division.h"
#include "plan/worker_writer.h"

namespace onebeat {
namespace plan {

Division make_division(const AttentionGeometry& geometry, const CostModel& cost,
                       const PlanLimits& limits) {
  Division d;
  d.stamp = plan_stamp(geometry);
  d.workers = static_cast<std::uint32_t>(geometry.workers);
  d.capacity = static_cast<std::uint32_t>(limits.max_requests);
  d.max_context_tokens = static_cast<std::uint32_t>(limits.max_context_tokens);
  d.max_query_tokens = static_cast<std::uint32_t>(geometry.max_query_tokens);
  d.workers_reciprocal = ~std::uint64_t{0} / d.workers;
  d.kv_heads = static_cast<std::uint32_t>(geometry.num_kv_heads);
  d.heads_per_kv_head = static_cast<std::uint32_t>(heads_per_kv_head(geometry));
  d.tile_shift = static_cast<std::uint32_t>(
      std::countr_zero(static_cast<std::uint32_t>(geometry.tile_tokens)));
  d.grain_tiles =
      geometry.invariant_chunk_tokens > 0
          ? static_cast<std::uint32_t>(geometry.invariant_chunk_tokens / geometry.tile_tokens)
          : 1;
  d.min_tiles = cost.min_tiles;
  d.overhead = cost.segment_overhead;
  d.window_left = geometry.window_left;
  d.chunk_tokens = static_cast<std::uint32_t>(geometry.chunk_tokens);
  d.min_worker_cost = static_cast<std::uint32_t>(
      std::max<std::uint64_t>(cost.min_worker_cost, smallest_worker_cost(d)));
  return d;
}

}  // namespace plan

namespace {

using plan::Division;

constexpr std::uint32_t kMaxOverhead = 1u << 24;
constexpr std::uint32_t kMaxMinTiles = 1u << 12;
constexpr std::uint32_t kMaxMinWorkerCost = 1u << 30;
constexpr std::uint32_t kMaxGrainTiles = 1u << 16;

Status check_cost_model(const CostModel& cost, const AttentionGeometry& geometry) {
  if (cost.segment_overhead < 1 || cost.segment_overhead > kMaxOverhead) {
    return out_of_range("segment_overhead is {}; it must be from 1 to {}", cost.segment_overhead,
                        kMaxOverhead);
  }
  if (cost.min_tiles < 1 || cost.min_tiles > kMaxMinTiles) {
    return out_of_range("min_tiles is {}; it must be from 1 to {}", cost.min_tiles, kMaxMinTiles);
  }
  if (cost.min_worker_cost > kMaxMinWorkerCost) {
    return out_of_range("min_worker_cost is {}; it must be at most {}", cost.min_worker_cost,
                        kMaxMinWorkerCost);
  }
  const auto grain =
      static_cast<std::uint32_t>(geometry.invariant_chunk_tokens / geometry.tile_tokens);
  if (grain > kMaxGrainTiles) {
    return out_of_range("invariant_chunk_tokens is {}; it must be at most {} tiles of {}",
                        geometry.invariant_chunk_tokens, kMaxGrainTiles, geometry.tile_tokens);
  }
  return {};
}

Status check_limits(const PlanLimits& limits) {
  if (limits.max_requests < 0 || limits.max_requests > 65536) {
    return out_of_range("max_requests is {}; it must be from 0 to 65536", limits.max_requests);
  }
  constexpr std::int64_t kMaxContext = std::numeric_limits<std::int32_t>::max();
  if (limits.max_context_tokens < 1 || limits.max_context_tokens > kMaxContext) {
    return out_of_range("max_context_tokens is {}; it must be from 1 to {}",
                        limits.max_context_tokens, kMaxContext);
  }
  return {};
}

/// Positions of cuts are costs times W, doubled for rounding: the largest total must leave room for
/// that in 64 bits.
Status check_arithmetic(const Division& d) {
  const std::uint32_t units = plan::units_of(d, d.max_query_tokens);
  if (units > std::numeric_limits<std::uint16_t>::max()) {
    return out_of_range(
        "{} KV heads and {} query tiles make {} units per request; a plan holds 65535", d.kv_heads,
        units / d.kv_heads, units);
  }
  // At most 2^16 units of 2^28 tiles: below 2^53.
  const std::uint64_t largest_request = units * plan::unit_cost(d, d.max_context_tokens, 0);
  const std::uint64_t room = (std::uint64_t{1} << 61) / d.workers;
  if (d.capacity > 0 && largest_request > room / d.capacity) {
    return out_of_range(
        "{} requests of {} tokens with {} units over {} workers exceed 64-bit costs; lower "
        "max_requests, max_context_tokens or workers, or raise tile_tokens",
        d.capacity, d.max_context_tokens, units, d.workers);
  }
  return {};
}

Status check_batch(const PlanBatch& batch, const PlanLimits& limits,
                   const AttentionGeometry& geometry) {
  if (batch.lens.size() > static_cast<std::size_t>(limits.max_requests)) {
    return out_of_range("{} requests in the step; this planner takes at most {}", batch.lens.size(),
                        limits.max_requests);
  }
  if (!batch.query_tokens.empty() && batch.query_tokens.size() != batch.lens.size()) {
    return invalid_argument("{} query counts for {} requests", batch.query_tokens.size(),
                            batch.lens.size());
  }
  if (!batch.skip_tokens.empty() && geometry.invariant_chunk_tokens != 0) {
    return unsupported("plans of batch-invariant mode leave out no tokens");
  }
  if (!batch.skip_tokens.empty() && batch.skip_tokens.size() != batch.lens.size()) {
    return invalid_argument("{} numbers of tokens to leave out for {} requests",
                            batch.skip_tokens.size(), batch.lens.size());
  }
  return {};
}

Status check_request(const Division& d, std::size_t r, std::int32_t len, std::int32_t tokens) {
  if (len < 0 || static_cast<std::uint32_t>(len) > d.max_context_tokens) {
    return out_of_range("request {} has {} KV tokens; this planner takes 0 to {}", r, len,
                        d.max_context_tokens);
  }
  if (tokens < 0 || static_cast<std::uint32_t>(tokens) > d.max_query_tokens) {
    return out_of_range("request {} has {} query tokens; this planner takes 0 to {}", r, tokens,
                        d.max_query_tokens);
  }
  if (len > 0 && len < tokens) {
    return invalid_argument(
        "request {} has {} KV tokens and {} query tokens; lengths include the step's own tokens", r,
        len, tokens);
  }
  return {};
}

/// First token of a request, behind what is left out. Errors: a number that cannot be left out.
Result<std::uint32_t> first_token(const Division& d, const PlanBatch& batch, std::size_t r,
                                  std::uint32_t len, std::uint32_t tokens) {
  const std::uint32_t visible = plan::first_visible_token(d, len, tokens);
  const std::int32_t skip = batch.skip_tokens.empty() ? 0 : batch.skip_tokens[r];
  if (skip == 0) return visible;
  if (d.window_left >= 0 || d.chunk_tokens > 0) {
    return unsupported(
        "request {} leaves out {} tokens; plans with a window, chunks or batch-invariant mode "
        "leave "
        "out none",
        r, skip);
  }
  const auto uskip = static_cast<std::uint32_t>(skip);
  if (skip < 0 || uskip % (1u << d.tile_shift) != 0 || uskip + tokens > len) {
    return invalid_argument(
        "request {} of {} tokens, {} of them queries, leaves out {}; it takes multiples of {} "
        "before the queries",
        r, len, tokens, skip, 1u << d.tile_shift);
  }
  return uskip;
}

/// Fills request records and query offsets; the last record holds the total.
Status write_requests(const Division& d, const PlanBatch& batch, RequestRecord* requests,
                      std::uint32_t* query_begin) {
  std::uint64_t total = 0;
  std::uint32_t queries = 0;
  const bool uniform = batch.query_tokens.empty();
  for (std::size_t r = 0; r < batch.lens.size(); ++r) {
    const std::int32_t len = batch.lens[r];
    const std::int32_t tokens =
        uniform ? static_cast<std::int32_t>(d.max_query_tokens) : batch.query_tokens[r];
    ONEBEAT_RETURN_IF_ERROR(check_request(d, r, len, tokens));
    const auto ulen = static_cast<std::uint32_t>(len);
    const auto utokens = static_cast<std::uint32_t>(tokens);
    ONEBEAT_ASSIGN_OR_RETURN(const std::uint32_t first, first_token(d, batch, r, ulen, utokens));
    requests[r] = {total, ulen, first};
    query_begin[r] = queries;
    total += plan::units_of(d, utokens) * plan::unit_cost(d, ulen, first);
    queries += utokens;
  }
  requests[batch.lens.size()] = {total, 0, 0};
  query_begin[batch.lens.size()] = queries;
  return {};
}

}  // namespace

Result<Planner> Planner::create(const AttentionGeometry& geometry, const CostModel& cost,
                                const PlanLimits& limits) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  ONEBEAT_RETURN_IF_ERROR(check_cost_model(cost, geometry));
  ONEBEAT_RETURN_IF_ERROR(check_limits(limits));
  const Division d = plan::make_division(geometry, cost, limits);
  ONEBEAT_RETURN_IF_ERROR(check_arithmetic(d));
  Planner planner;
  planner.geometry_ = geometry;
  planner.cost_ = cost;
  planner.cost_.min_worker_cost = d.min_worker_cost;
  planner.limits_ = limits;
  planner.plan_bytes_ = plan::layout_of(d.workers, d.capacity).size_bytes;
  return planner;
}

ScratchSize Planner::scratch_size() const {
  const AttentionGeometry& g = geometry_;
  ScratchSize size;
  size.slots = 2 * g.workers;
  size.rows_per_slot = std::min(kQueryTileRows, heads_per_kv_head(g) * g.max_query_tokens);
  if (g.invariant_chunk_tokens > 0) {
    const auto chunks = static_cast<std::uint64_t>(
        (limits_.max_context_tokens + g.invariant_chunk_tokens - 1) / g.invariant_chunk_tokens);
    size.nodes_per_slot = std::max(1, static_cast<std::int32_t>(std::bit_width(chunks - 1)));
  }
  const std::int64_t rows = std::int64_t{size.slots} * size.nodes_per_slot * size.rows_per_slot;
  size.output_floats = rows * g.head_dim_v;
  size.stats_floats = rows * 2;
  size.counters = 3 * g.workers;
  return size;
}

Result<PlanView> Planner::make_plan(const PlanBatch& batch, std::span<std::byte> out) const {
  ONEBEAT_RETURN_IF_ERROR(check_batch(batch, limits_, geometry_));
  if (out.size() < plan_bytes_) {
    return invalid_argument("{} bytes given for a plan of {}", out.size(), plan_bytes_);
  }
  if (reinterpret_cast<std::uintptr_t>(out.data()) % alignof(PlanHeader) != 0) {
    return invalid_argument("the plan's bytes are not aligned to {}", alignof(PlanHeader));
  }
  const Division d = plan::make_division(geometry_, cost_, limits_);
  const plan::Layout layout = plan::layout_of(d.workers, d.capacity);
  auto* requests = reinterpret_cast<RequestRecord*>(out.data() + layout.requests_offset);
  auto* query_begin = reinterpret_cast<std::uint32_t*>(out.data() + layout.queries_offset);
  auto* workers = reinterpret_cast<WorkerRecord*>(out.data() + layout.workers_offset);

  ONEBEAT_RETURN_IF_ERROR(write_requests(d, batch, requests, query_begin));
  const auto num_active = static_cast<std::uint32_t>(batch.lens.size());
  const PlanHeader header = plan::header_of(d, num_active, requests[num_active].cost_begin);
  *reinterpret_cast<PlanHeader*>(out.data()) = header;
  plan::WorkerWriter(d, requests, query_begin, header, workers).write();
  return PlanView(out.first(plan_bytes_), geometry_);
}

}  // namespace onebeat
