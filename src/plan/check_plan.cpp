// SPDX-License-Identifier: Apache-2.0
// Proof on the host that a plan is right (contract B5). It derives everything from the batch again
// and shares with the planner only the definitions of cost and tiles, so that a fault of the
// division cannot hide itself.
#include <algorithm>

#include "base/error.h"
#include "onebeat/plan.h"
#include "plan/division.h"

namespace onebeat {
namespace {

using plan::Division;

/// Requests of the plan against those of the batch.
Status check_requests(const PlanView& plan, const PlanBatch& batch, const Division& d) {
  if (plan.header().num_active != batch.lens.size()) {
    return internal_error("plan has {} requests, the batch {}", plan.header().num_active,
                          batch.lens.size());
  }
  std::uint64_t total = 0;
  std::uint32_t queries = 0;
  for (std::uint32_t r = 0; r < plan.header().num_active; ++r) {
    const auto len = static_cast<std::uint32_t>(batch.lens[r]);
    const auto tokens = batch.query_tokens.empty()
                            ? d.max_query_tokens
                            : static_cast<std::uint32_t>(batch.query_tokens[r]);
    const RequestRecord& record = plan.requests()[r];
    const std::uint32_t first = batch.skip_tokens.empty() || batch.skip_tokens[r] == 0
                                    ? plan::first_visible_token(d, len, tokens)
                                    : static_cast<std::uint32_t>(batch.skip_tokens[r]);
    if (record.len != len || record.first != first) {
      return internal_error("request {} covers [{}, {}) instead of [{}, {})", r, record.first,
                            record.len, first, len);
    }
    if (record.cost_begin != total || plan.query_begin()[r] != queries) {
      return internal_error("request {} begins at cost {} and query {} instead of {} and {}", r,
                            record.cost_begin, plan.query_begin()[r], total, queries);
    }
    total += plan::units_of(d, tokens) * plan::unit_cost(d, len, first);
    queries += tokens;
  }
  const RequestRecord& last = plan.requests()[plan.header().num_active];
  if (last.cost_begin != total || plan.header().total_cost != total ||
      plan.query_begin()[plan.header().num_active] != queries) {
    return internal_error("total cost is {} in the header and {} in the records instead of {}",
                          plan.header().total_cost, last.cost_begin, total);
  }
  return {};
}

/// Walks all segments in the order of workers, which must be the order of the line.
class CoverageCheck {
 public:
  CoverageCheck(const PlanView& plan, const Division& d) : plan_(plan), division_(d) {}

  Status run() {
    skip_requests_without_units();
    for (std::uint32_t w = 0; w < plan_.header().workers_active; ++w) {
      ONEBEAT_RETURN_IF_ERROR(check_worker(w));
    }
    if (request_ != plan_.header().num_active || inside_) {
      return internal_error("work ends at request {} unit {} tile {}; the rest is done by nobody",
                            request_, unit_, tile_);
    }
    for (std::uint32_t w = plan_.header().workers_active; w < plan_.header().workers; ++w) {
      const WorkerRecord& record = plan_.workers()[w];
      if (record.stamp != 0 || record.end_tile != 0 || record.end_request != 0) {
        return internal_error("idle worker {} has a record that is not zero", w);
      }
    }
    return {};
  }

 private:
  void skip_requests_without_units() {
    while (request_ < plan_.header().num_active && plan_.units(request_) == 0) ++request_;
    unit_ = 0;
    if (request_ < plan_.header().num_active) {
      tile_ = plan::first_tile(division_, plan_.requests()[request_].first);
    }
  }

  Status check_worker(std::uint32_t w) {
    if (plan_.workers()[w].stamp != plan_.header().stamp) {
      return internal_error("worker {} has stamp {:08x}", w, plan_.workers()[w].stamp);
    }
    std::uint64_t cost = 0;
    std::uint32_t count = 0;
    PlanView::SegmentCursor cursor = plan_.first_segment(w);
    Segment segment;
    while (plan_.next_segment(cursor, segment)) {
      ONEBEAT_RETURN_IF_ERROR(check_segment(w, count++, segment));
      cost += std::uint64_t{plan::kTileCost} * (segment.tile_end - segment.tile_begin) +
              division_.overhead;
    }
    if (count == 0) return internal_error("active worker {} has no work", w);
    const std::uint64_t bound = plan_.header().total_cost / plan_.header().workers_active +
                                plan::worker_cost_slack(division_);
    if (plan_.header().workers_active > 1 && cost > bound) {
      return internal_error("worker {} has cost {}, more than its bound {}", w, cost, bound);
    }
    return {};
  }

  Status check_segment(std::uint32_t w, std::uint32_t index, const Segment& s) {
    if (request_ >= plan_.header().num_active) {
      return internal_error("worker {} segment {} lies behind the last request", w, index);
    }
    const std::uint32_t tiles = plan_.query_tiles(request_);
    const std::uint32_t end = plan::end_tile(division_, plan_.requests()[request_].len);
    if (s.request != request_ || s.kv_head * tiles + s.query_tile != unit_ ||
        s.tile_begin != tile_ || s.tile_end < s.tile_begin || s.tile_end > end) {
      return internal_error(
          "worker {} segment {} is request {} head {} query tile {} tiles [{}, {}); expected "
          "request "
          "{} unit {} from tile {} to at most {}",
          w, index, s.request, s.kv_head, s.query_tile, s.tile_begin, s.tile_end, request_, unit_,
          tile_, end);
    }
    const bool starts = !inside_;
    const bool finishes = s.tile_end == end;
    if (s.tile_end == s.tile_begin && !(starts && finishes)) {
      return internal_error("worker {} segment {} is an empty piece of a unit", w, index);
    }
    if (starts && finishes) {
      if (s.partials != 0)
        return internal_error("worker {} segment {} is whole but partial", w, index);
    } else {
      ONEBEAT_RETURN_IF_ERROR(check_partial(w, index, s, starts, finishes));
    }
    advance(s.tile_end, finishes);
    return {};
  }

  Status check_partial(std::uint32_t w, std::uint32_t index, const Segment& s, bool starts,
                       bool finishes) {
    if (starts) {
      owner_ = w;
      seen_ = 0;
      partials_ = s.partials;
    }
    ++seen_;
    const std::uint32_t slot = starts ? 2 * w + 1 : 2 * w;
    if (s.slot != slot || s.owner != owner_ || s.partials != partials_ || w - owner_ + 1 != seen_ ||
        seen_ > partials_ || finishes != (seen_ == partials_)) {
      return internal_error(
          "worker {} segment {} is partial {} of {} in slot {} owned by {}; expected {} of {} in "
          "{} "
          "owned by {}",
          w, index, seen_, s.partials, s.slot, s.owner, w - owner_ + 1, partials_, slot, owner_);
    }
    if (s.tile_end - s.tile_begin < division_.min_tiles) {
      return internal_error("worker {} segment {} has {} tiles, fewer than {}", w, index,
                            s.tile_end - s.tile_begin, division_.min_tiles);
    }
    const bool on_grain = (starts || s.tile_begin % division_.grain_tiles == 0) &&
                          (finishes || s.tile_end % division_.grain_tiles == 0);
    if (!on_grain) {
      return internal_error("worker {} segment {} is cut at [{}, {}), off the grain of {} tiles", w,
                            index, s.tile_begin, s.tile_end, division_.grain_tiles);
    }
    return {};
  }

  void advance(std::uint32_t tile, bool finished) {
    inside_ = !finished;
    tile_ = tile;
    if (!finished) return;
    if (++unit_ == plan_.units(request_)) {
      ++request_;
      skip_requests_without_units();
    } else {
      tile_ = plan::first_tile(division_, plan_.requests()[request_].first);
    }
  }

  const PlanView& plan_;
  const Division& division_;
  std::uint32_t request_ = 0;
  std::uint32_t unit_ = 0;
  std::uint32_t tile_ = 0;
  bool inside_ = false;  // the current unit is begun and not finished
  std::uint32_t owner_ = 0;
  std::uint32_t seen_ = 0;
  std::uint32_t partials_ = 0;
};

}  // namespace

Status check_plan(const PlanView& plan, const PlanBatch& batch, const CostModel& cost) {
  const PlanHeader& header = plan.header();
  PlanLimits limits;
  limits.max_requests = static_cast<std::int32_t>(header.capacity);
  limits.max_context_tokens = 0x7fffffff;
  const Division d = plan::make_division(plan.geometry(), cost, limits);
  ONEBEAT_RETURN_IF_ERROR(check_requests(plan, batch, d));
  if (header.workers_active != plan::active_workers(d, header.total_cost)) {
    return internal_error("{} workers are active instead of {}", header.workers_active,
                          plan::active_workers(d, header.total_cost));
  }
  return CoverageCheck(plan, d).run();
}

PlanBalance balance_of(const PlanView& plan, const CostModel& cost) {
  PlanBalance balance;
  balance.total_cost = plan.header().total_cost;
  for (std::uint32_t w = 0; w < plan.header().workers_active; ++w) {
    std::uint64_t worker_cost = 0;
    plan.for_each_segment(w, [&](const Segment& s) {
      worker_cost +=
          std::uint64_t{plan::kTileCost} * (s.tile_end - s.tile_begin) + cost.segment_overhead;
      ++balance.segments;
      if (s.partials > 0) ++balance.scratch_rows;
      if (s.partials > 0 && s.owner == w) ++balance.split_units;
    });
    balance.largest_worker_cost = std::max(balance.largest_worker_cost, worker_cost);
  }
  if (balance.total_cost > 0) {
    balance.balance = static_cast<double>(balance.largest_worker_cost) *
                      plan.header().workers_active / static_cast<double>(balance.total_cost);
  }
  return balance;
}

}  // namespace onebeat
