// SPDX-License-Identifier: Apache-2.0
#include "onebeat/cascade.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "plan/division.h"

namespace onebeat {
namespace {

/// What the requests of a prefix plan are made of, and what the requests of the step leave out.
struct Numbers {
  std::span<std::int32_t> skip, lens, query_tokens, page_row_request;

  Numbers(std::span<std::int32_t> memory, std::size_t requests)
      : skip(memory.subspan(0, requests)),
        lens(memory.subspan(requests, requests)),
        query_tokens(memory.subspan(2 * requests, requests)),
        page_row_request(memory.subspan(3 * requests, requests)) {}
};

class Division {
 public:
  Division(const Planner& own, const Planner& prefix, const PlanBatch& batch, Numbers numbers)
      : geometry_(own.geometry()),
        most_tokens_(prefix.geometry().max_query_tokens),
        overhead_(own.cost_model().segment_overhead),
        batch_(batch),
        numbers_(numbers) {
    std::fill(numbers_.skip.begin(), numbers_.skip.end(), 0);
  }

  /// Shares the prefix if that saves anything.
  Status add(const SharedPrefix& shared) {
    const auto requests = static_cast<std::int64_t>(batch_.lens.size());
    if (shared.begin < next_ || shared.end < shared.begin || shared.end > requests ||
        shared.tokens < 0) {
      return invalid_argument(
          "a prefix of {} tokens is shared by requests {} to {}; the step has {}, and prefixes "
          "begin behind the ones before, here at {}",
          shared.tokens, shared.begin, shared.end, requests, next_);
    }
    std::int64_t tokens = std::min<std::int64_t>(shared.tokens, kMost);
    for (std::int32_t r = shared.begin; r < shared.end; ++r) {
      tokens = std::min<std::int64_t>(tokens, batch_.lens[at(r)] - query_tokens(r));
    }
    const std::int64_t tiles = std::max<std::int64_t>(tokens, 0) / geometry_.tile_tokens;
    const std::int32_t before = count_;
    leave_out(next_, shared.begin);
    const std::int32_t first_group = count_;
    make_groups(shared.begin, shared.end, static_cast<std::int32_t>(tiles * geometry_.tile_tokens));
    // In own units of work: a group has one more segment, and its tiles once.
    std::int64_t units = 0;
    for (std::int32_t r = shared.begin; r < shared.end; ++r) units += query_tiles(query_tokens(r));
    std::int64_t groups = 0;
    for (std::int32_t g = first_group; g < count_; ++g)
      groups += query_tiles(numbers_.query_tokens[at(g)]);
    const std::int64_t cost = std::int64_t{plan::kTileCost} * tiles;
    const std::int64_t saved =
        geometry_.num_kv_heads * (units * cost - groups * (cost + std::int64_t{overhead_}));
    if (tiles * geometry_.tile_tokens < most_tokens_ || saved <= 0) {
      count_ = before;  // next_ stays: these requests are left out with the ones that follow
      return {};
    }
    for (std::int32_t r = shared.begin; r < shared.end; ++r)
      numbers_.skip[at(r)] = static_cast<std::int32_t>(tiles * geometry_.tile_tokens);
    next_ = shared.end;
    saved_ += saved;
    saved_tiles_ += geometry_.num_kv_heads * (units - groups) * tiles;
    return {};
  }

  /// Behind the last prefix: the rest of the batch.
  void finish() { leave_out(next_, static_cast<std::int32_t>(batch_.lens.size())); }

  [[nodiscard]] std::int64_t saved() const { return saved_; }
  [[nodiscard]] std::int64_t saved_tiles() const { return saved_tiles_; }
  [[nodiscard]] PlanBatch prefix_batch() const {
    const auto count = static_cast<std::size_t>(count_);
    return {.lens = numbers_.lens.first(count), .query_tokens = numbers_.query_tokens.first(count)};
  }
  [[nodiscard]] PlanBatch own_batch() const {
    PlanBatch own = batch_;
    own.skip_tokens = numbers_.skip;
    return own;
  }

 private:
  static constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  static std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

  [[nodiscard]] std::int32_t query_tokens(std::int32_t request) const {
    return batch_.query_tokens.empty() ? geometry_.max_query_tokens
                                       : batch_.query_tokens[at(request)];
  }
  [[nodiscard]] std::int64_t query_tiles(std::int32_t tokens) const {
    return plan::query_tiles_of(static_cast<std::uint32_t>(heads_per_kv_head(geometry_)),
                                static_cast<std::uint32_t>(tokens));
  }

  /// Requests without a prefix: their rows of the second result say that it is empty.
  void leave_out(std::int32_t begin, std::int32_t end) { make_groups(begin, end, 0); }

  /// Groups of neighbours whose query tokens fit one request of the prefix plan.
  void make_groups(std::int32_t begin, std::int32_t end, std::int32_t len) {
    std::int32_t group_tokens = 0;
    for (std::int32_t r = begin; r < end; ++r) {
      const std::int32_t tokens = query_tokens(r);
      if (r == begin || group_tokens + tokens > most_tokens_) {
        numbers_.lens[at(count_)] = len;
        numbers_.page_row_request[at(count_)] = r;
        group_tokens = 0;
        ++count_;
      }
      group_tokens += tokens;
      numbers_.query_tokens[at(count_ - 1)] = group_tokens;
    }
  }

  const AttentionGeometry& geometry_;
  std::int32_t most_tokens_;
  std::uint32_t overhead_;
  const PlanBatch& batch_;
  Numbers numbers_;
  std::int32_t next_ = 0;   // first request that is in no group yet
  std::int32_t count_ = 0;  // groups
  std::int64_t saved_ = 0, saved_tiles_ = 0;
};

}  // namespace

Result<CascadePlanner> CascadePlanner::create(const AttentionGeometry& geometry,
                                              const CostModel& cost, const PlanLimits& limits,
                                              const CascadeCost& cascade) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  if (geometry.window_left >= 0 || geometry.chunk_tokens > 0 ||
      geometry.invariant_chunk_tokens > 0) {
    return unsupported(
        "shared prefixes with window_left {}, chunk_tokens {} and invariant_chunk_tokens {}; they "
        "take attention to all tokens, and not batch-invariant mode",
        geometry.window_left, geometry.chunk_tokens, geometry.invariant_chunk_tokens);
  }
  ONEBEAT_ASSIGN_OR_RETURN(Planner own, Planner::create(geometry, cost, limits));
  AttentionGeometry shared = geometry;
  shared.causal = false;  // all of a prefix lies before all queries
  constexpr std::int32_t kMostQueryTokens = 16;
  shared.max_query_tokens =
      std::max(geometry.max_query_tokens,
               std::min(kMostQueryTokens, kQueryTileRows / heads_per_kv_head(geometry)));
  CostModel prefix_cost = cost;
  prefix_cost.min_worker_cost = std::max(cost.min_worker_cost, cascade.min_prefix_worker_cost);
  ONEBEAT_ASSIGN_OR_RETURN(Planner prefix, Planner::create(shared, prefix_cost, limits));
  return CascadePlanner(std::move(own), std::move(prefix), cascade);
}

std::size_t CascadePlanner::numbers() const {
  return 4 * static_cast<std::size_t>(own_.limits().max_requests);
}

Result<CascadePlan> CascadePlanner::make_plan(const PlanBatch& batch,
                                              std::span<const SharedPrefix> prefixes,
                                              const CascadeMemory& memory) const {
  const std::size_t requests = batch.lens.size();
  if (!batch.skip_tokens.empty()) {
    return invalid_argument("a batch for a cascade leaves out no tokens by itself");
  }
  if (memory.numbers.size() < 4 * requests) {
    return invalid_argument("{} numbers given for a cascade of {} requests; it needs {}",
                            memory.numbers.size(), requests, 4 * requests);
  }
  if (!batch.query_tokens.empty() && batch.query_tokens.size() != requests) {
    return invalid_argument("{} query counts for {} requests", batch.query_tokens.size(), requests);
  }
  const Numbers numbers(memory.numbers, requests);
  Division division(own_, prefix_, batch, numbers);
  for (const SharedPrefix& shared : prefixes) ONEBEAT_RETURN_IF_ERROR(division.add(shared));
  CascadePlan plan;
  if (division.saved() <= static_cast<std::int64_t>(cascade_.launches)) {
    ONEBEAT_ASSIGN_OR_RETURN(plan.own, own_.make_plan(batch, memory.own));
    return plan;
  }
  division.finish();
  ONEBEAT_ASSIGN_OR_RETURN(plan.own, own_.make_plan(division.own_batch(), memory.own));
  ONEBEAT_ASSIGN_OR_RETURN(plan.prefix, prefix_.make_plan(division.prefix_batch(), memory.prefix));
  plan.page_row_request = numbers.page_row_request.first(division.prefix_batch().lens.size());
  plan.saved_tiles = division.saved_tiles();
  return plan;
}

}  // namespace onebeat
