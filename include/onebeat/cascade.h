// SPDX-License-Identifier: Apache-2.0
// Shared prefixes (cascade): when several requests of a step begin with the same pages, one plan
// reads those once for all of them, and each request's own plan begins behind them.
//
// A step then takes three launches a layer instead of one, all with the same queries:
//  1. decode_attention() with `own`, as without a cascade, into a first result;
//  2. decode_attention() with `prefix`, whose requests are groups of neighbours in the batch: their
//     query tokens are one request's, and its page row is that of the group's first member
//     (page_row_request), into a second result;
//  3. merge_states() of the two. Sinks belong to the merge; launches 1 and 2 have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "onebeat/geometry.h"
#include "onebeat/plan.h"
#include "onebeat/status.h"

namespace onebeat {

/// Requests [begin, end) of a step whose page rows begin with the same pages, for `tokens` tokens.
struct SharedPrefix {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  std::int64_t tokens = 0;
};

/// When a cascade pays. Data: measured, not derived.
struct CascadeCost {
  /// What two launches more cost, as work of all workers together, in 1/256 tile.
  std::uint64_t launches = 0;
  /// CostModel::min_worker_cost of the prefix plan, if larger: its partial results are full query
  /// tiles, and dear.
  std::uint32_t min_prefix_worker_cost = 0;
};

/// Memory for the plans of one step, owned by the caller.
struct CascadeMemory {
  std::span<std::byte> own;         ///< Planner::plan_bytes() of own_planner(), 16-byte aligned.
  std::span<std::byte> prefix;      ///< The same of prefix_planner().
  std::span<std::int32_t> numbers;  ///< CascadePlanner::numbers().
};

/// What a step is divided into. Views borrow the memory.
struct CascadePlan {
  std::optional<PlanView> own;  ///< Always set: all that `prefix` does not cover.
  /// Not set if a cascade does not pay: then `own` is the plan of the whole step.
  std::optional<PlanView> prefix;
  /// For each request of `prefix`: the request of the step whose page row it reads.
  std::span<const std::int32_t> page_row_request;
  std::int64_t saved_tiles = 0;  ///< Tiles of one KV head that are read less often.
};

/// Makes the two plans. Immutable after create(); safe to use from many threads.
class CascadePlanner {
 public:
  /// Errors: as Planner::create(); kUnsupported for a geometry with a window, chunks or
  /// batch-invariant mode (bits of a request would depend on who shares its prefix).
  [[nodiscard]] static Result<CascadePlanner> create(const AttentionGeometry& geometry,
                                                     const CostModel& cost,
                                                     const PlanLimits& limits,
                                                     const CascadeCost& cascade);

  [[nodiscard]] const Planner& own_planner() const { return own_; }
  /// Its geometry is the given one, but not causal, and with as many query tokens as fill a query
  /// tile.
  [[nodiscard]] const Planner& prefix_planner() const { return prefix_; }
  /// Numbers that a step needs as memory.
  [[nodiscard]] std::size_t numbers() const;

  /// Plans a step. Of each prefix the whole tiles before all members' query tokens are shared;
  /// prefixes that save nothing are left alone, and all of them if the launches cost more than they
  /// save together. Prefixes rise and do not overlap. O(B + W) time, no allocation. Errors: as
  /// Planner::make_plan(); kInvalidArgument for prefixes that are not in the batch.
  [[nodiscard]] Result<CascadePlan> make_plan(const PlanBatch& batch,
                                              std::span<const SharedPrefix> prefixes,
                                              const CascadeMemory& memory) const;

 private:
  CascadePlanner(Planner own, Planner prefix, const CascadeCost& cascade)
      : own_(std::move(own)), prefix_(std::move(prefix)), cascade_(cascade) {}
  Planner own_;
  Planner prefix_;
  CascadeCost cascade_;
};

}  // namespace onebeat
