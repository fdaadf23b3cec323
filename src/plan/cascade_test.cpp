// SPDX-License-Identifier: Apache-2.0
#include "onebeat/cascade.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "plan/plan_fixture.h"

namespace onebeat {
namespace {

AttentionGeometry shared_geometry(std::int32_t heads = 32, std::int32_t kv_heads = 8) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = 128;
  g.page_tokens = 16;
  g.tile_tokens = 64;
  g.workers = 256;
  return g;
}

class CascadeStep {
 public:
  explicit CascadeStep(const AttentionGeometry& geometry, std::int32_t requests,
                       std::uint64_t launches = 0)
      : planner_(CascadePlanner::create(geometry, {}, {requests, 1 << 17}, {launches})),
        own_(planner_->own_planner().plan_bytes()),
        prefix_(planner_->prefix_planner().plan_bytes()),
        numbers_(planner_->numbers()) {}

  Result<CascadePlan> plan(const PlanBatch& batch, std::span<const SharedPrefix> prefixes) {
    auto plan = planner_->make_plan(batch, prefixes, {own_.span(), prefix_.span(), numbers_});
    if (!plan.ok()) return plan;
    // Both plans are proved against the batches that they should be of.
    PlanBatch own = batch;
    if (plan->prefix) own.skip_tokens = std::span(numbers_).first(batch.lens.size());
    const Status checked = check_plan(*plan->own, own, planner_->own_planner().cost_model());
    EXPECT_TRUE(checked.ok()) << to_string(checked);
    return plan;
  }

  [[nodiscard]] std::span<const std::int32_t> numbers() const { return numbers_; }

 private:
  Result<CascadePlanner> planner_;
  plan_fixture::PlanBytes own_, prefix_;
  std::vector<std::int32_t> numbers_;
};

TEST(Cascade, ReadsTheExampleOnceForSixteenRequests) {
  CascadeStep step(shared_geometry(), 64, 1000 * 256);
  const std::vector<std::int32_t> lens(64, 2048 + 100);
  const std::vector<SharedPrefix> prefixes{{0, 64, 2048}};
  const auto plan = step.plan({lens}, prefixes);
  ASSERT_TRUE(plan.ok()) << to_string(plan.status());
  ASSERT_TRUE(plan->prefix.has_value());
  // 4 heads share a KV head: 16 query tokens fill a query tile of 64 rows.
  ASSERT_EQ(plan->prefix->header().num_active, 4u);
  EXPECT_EQ(std::vector(plan->page_row_request.begin(), plan->page_row_request.end()),
            (std::vector<std::int32_t>{0, 16, 32, 48}));
  for (std::uint32_t g = 0; g < 4; ++g) {
    EXPECT_EQ(plan->prefix->requests()[g].len, 2048u);
    EXPECT_EQ(plan->prefix->query_tokens(g), 16u);
    EXPECT_EQ(plan->prefix->units(g), 8u);
  }
  EXPECT_FALSE(plan->prefix->geometry().causal);
  for (std::uint32_t r = 0; r < 64; ++r) EXPECT_EQ(plan->own->requests()[r].first, 2048u);
  EXPECT_EQ(plan->saved_tiles, 8 * (64 - 4) * 32);
}

TEST(Cascade, RowsOfTheTwoPlansAreTheSameQueryTokens) {
  CascadeStep step(shared_geometry(16, 2), 20);  // 8 heads a KV head: 8 query tokens a group
  std::vector<std::int32_t> lens(20, 700);
  lens[3] = 0;
  const std::vector<SharedPrefix> prefixes{{2, 2, 100}, {5, 16, 640}, {17, 20, 127}};
  const auto plan = step.plan({lens}, prefixes);
  ASSERT_TRUE(plan.ok()) << to_string(plan.status());
  ASSERT_TRUE(plan->prefix.has_value());
  const PlanView& prefix = *plan->prefix;
  // 5 requests before, 11 that share (8 and 3), 1 between, 3 that share one tile.
  ASSERT_EQ(prefix.header().num_active, 5u);
  const std::vector<std::uint32_t> begins(prefix.query_begin().begin(), prefix.query_begin().end());
  EXPECT_EQ(begins, (std::vector<std::uint32_t>{0, 5, 13, 16, 17, 20}));
  const std::vector<std::uint32_t> expected_lens{0, 640, 640, 0, 64};
  for (std::uint32_t g = 0; g < 5; ++g) EXPECT_EQ(prefix.requests()[g].len, expected_lens[g]);
  EXPECT_EQ(begins.back(), plan->own->query_begin()[20]);
  for (std::uint32_t r = 0; r < 20; ++r) {
    const std::uint32_t first = r >= 5 && r < 16 ? 640 : r >= 17 ? 64 : 0;
    EXPECT_EQ(plan->own->requests()[r].first, first) << r;
  }
}

TEST(Cascade, SharesWholeTilesBeforeAllQueriesOnly) {
  AttentionGeometry g = shared_geometry();
  g.max_query_tokens = 4;
  CascadeStep step(g, 8);
  std::vector<std::int32_t> lens(8, 1000);
  lens[6] = 515;  // its first query stands at 511
  const std::vector<SharedPrefix> prefixes{{0, 8, 990}};
  const auto plan = step.plan({lens}, prefixes);
  ASSERT_TRUE(plan.ok()) << to_string(plan.status());
  ASSERT_TRUE(plan->prefix.has_value());
  EXPECT_EQ(plan->own->requests()[0].first, 448u);
  EXPECT_EQ(plan->prefix->header().num_active, 2u);
}

TEST(Cascade, LeavesAloneWhatDoesNotPay) {
  const std::vector<std::int32_t> lens(8, 300);
  const auto shares = [&](std::uint64_t launches, std::vector<SharedPrefix> prefixes) {
    CascadeStep step(shared_geometry(), 8, launches);
    const auto plan = step.plan({lens}, prefixes);
    EXPECT_TRUE(plan.ok()) << to_string(plan.status());
    return plan->prefix.has_value();
  };
  // 8 KV heads, 4 tiles, 7 of 8 readings saved, one segment more.
  const std::uint64_t saved = 8 * (7 * 4 * 256 - 128);
  EXPECT_TRUE(shares(saved - 1, {{0, 8, 256}}));
  EXPECT_FALSE(shares(saved, {{0, 8, 256}}));
  EXPECT_FALSE(shares(0, {{0, 8, 63}}));   // no whole tile
  EXPECT_FALSE(shares(0, {{4, 5, 256}}));  // nobody to share with
  EXPECT_FALSE(shares(0, {}));
  // One that does not pay changes nothing for one that does.
  CascadeStep step(shared_geometry(), 8);
  const auto plan = step.plan({lens}, std::vector<SharedPrefix>{{0, 1, 256}, {3, 8, 256}});
  ASSERT_TRUE(plan.ok() && plan->prefix.has_value());
  EXPECT_EQ(plan->own->requests()[0].first, 0u);
  EXPECT_EQ(plan->own->requests()[3].first, 256u);
  EXPECT_EQ(plan->prefix->query_begin()[1], 3u);
}

TEST(Cascade, PrefixesAreGivenToFewerWorkersIfPartsAreDear) {
  const auto workers = [](std::uint32_t least) {
    const auto planner = CascadePlanner::create(shared_geometry(), {}, {64, 1 << 17},
                                                {.min_prefix_worker_cost = least});
    EXPECT_TRUE(planner.ok());
    plan_fixture::PlanBytes own(planner->own_planner().plan_bytes());
    plan_fixture::PlanBytes prefix(planner->prefix_planner().plan_bytes());
    std::vector<std::int32_t> numbers(planner->numbers());
    const std::vector<std::int32_t> lens(64, 2048 + 100);
    const auto plan = planner->make_plan({lens}, std::vector<SharedPrefix>{{0, 64, 2048}},
                                         {own.span(), prefix.span(), numbers});
    EXPECT_TRUE(plan.ok() && plan->prefix.has_value());
    return std::pair(plan->own->header().workers_active, plan->prefix->header().workers_active);
  };
  // 4 groups of 8 KV heads, 32 tiles and a segment each.
  EXPECT_EQ(workers(0), std::pair(256u, 256u));
  EXPECT_EQ(workers(32 * 256), std::pair(256u, 32u));
}

TEST(Cascade, RefusesPrefixesAndGeometriesThatDoNotFit) {
  AttentionGeometry g = shared_geometry();
  g.window_left = 100;
  EXPECT_EQ(CascadePlanner::create(g, {}, {8, 1000}, {}).status().code(), StatusCode::kUnsupported);
  g = shared_geometry();
  g.invariant_chunk_tokens = 128;
  EXPECT_EQ(CascadePlanner::create(g, {}, {8, 1000}, {}).status().code(), StatusCode::kUnsupported);

  CascadeStep step(shared_geometry(), 8);
  const std::vector<std::int32_t> lens(8, 300);
  const auto code = [&](std::vector<SharedPrefix> prefixes) {
    return step.plan({lens}, prefixes).status().code();
  };
  EXPECT_EQ(code({{0, 9, 64}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{-1, 3, 64}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{4, 3, 64}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{0, 4, -1}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{0, 4, 64}, {3, 8, 64}}), StatusCode::kInvalidArgument);
}

TEST(Planner, LeavesOutWholeTilesBeforeTheQueries) {
  const AttentionGeometry g = shared_geometry();
  const auto planner = Planner::create(g, {}, {2, 1000});
  ASSERT_TRUE(planner.ok());
  plan_fixture::PlanBytes bytes(planner->plan_bytes());
  const std::vector<std::int32_t> lens{500, 70};
  const auto make = [&](std::vector<std::int32_t> skip) {
    PlanBatch batch{lens};
    batch.skip_tokens = skip;
    const auto plan = planner->make_plan(batch, bytes.span());
    if (plan.ok()) {
      const Status checked = check_plan(*plan, batch, planner->cost_model());
      EXPECT_TRUE(checked.ok()) << to_string(checked);
      EXPECT_TRUE(PlanView::open(plan->bytes(), g).ok());
      batch.skip_tokens = {};
      EXPECT_FALSE(check_plan(*plan, batch, planner->cost_model()).ok());
    }
    return plan.status().code();
  };
  EXPECT_EQ(make({448, 64}), StatusCode::kOk);
  EXPECT_EQ(make({0, 64}), StatusCode::kOk);
  EXPECT_EQ(make({447, 0}), StatusCode::kInvalidArgument);
  EXPECT_EQ(make({-64, 0}), StatusCode::kInvalidArgument);
  EXPECT_EQ(make({0, 128}), StatusCode::kInvalidArgument);
  EXPECT_EQ(make({64}), StatusCode::kInvalidArgument);

  AttentionGeometry other = g;
  other.window_left = 400;
  const std::vector<std::int32_t> skip{64, 0};
  PlanBatch batch{lens};
  batch.skip_tokens = skip;
  for (const std::int32_t chunk : {0, 64}) {
    other.invariant_chunk_tokens = chunk;
    if (chunk != 0) other.window_left = -1;
    const auto refuses = Planner::create(other, {}, {2, 1000});
    ASSERT_TRUE(refuses.ok());
    plan_fixture::PlanBytes out(refuses->plan_bytes());
    EXPECT_EQ(refuses->make_plan(batch, out.span()).status().code(), StatusCode::kUnsupported);
  }
}

}  // namespace
}  // namespace onebeat
