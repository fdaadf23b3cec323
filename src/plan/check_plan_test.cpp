// SPDX-License-Identifier: Apache-2.0
// check_plan and PlanView::open must notice every kind of damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "onebeat/plan.h"
#include "plan/plan_fixture.h"

namespace onebeat {
namespace {

using plan_fixture::Case;
using plan_fixture::PlanBytes;
using plan_fixture::RandomCases;

class DamagedPlan : public ::testing::Test {
 protected:
  DamagedPlan() {
    geometry_.num_heads = 16;
    geometry_.num_kv_heads = 2;
    geometry_.head_dim = geometry_.head_dim_v = 128;
    geometry_.workers = 16;
    planner_.emplace_back(*Planner::create(geometry_, {}, {8, 1 << 20}));
    bytes_.emplace_back(planner_[0].plan_bytes());
    EXPECT_TRUE(planner_[0].make_plan({lens_}, bytes_[0].span()).ok());
  }

  WorkerRecord& worker(std::size_t w) {
    return reinterpret_cast<WorkerRecord*>(bytes_[0].span().data() + sizeof(PlanHeader))[w];
  }
  PlanHeader& header() { return *reinterpret_cast<PlanHeader*>(bytes_[0].span().data()); }
  RequestRecord& request(std::size_t r) {
    return reinterpret_cast<RequestRecord*>(bytes_[0].span().data() + header().requests_offset)[r];
  }

  /// open() or check_plan() must fail.
  [[nodiscard]] bool noticed() {
    const Result<PlanView> plan = PlanView::open(bytes_[0].span(), geometry_);
    return !plan.ok() || !check_plan(*plan, {lens_}, planner_[0].cost_model()).ok();
  }

  AttentionGeometry geometry_;
  std::vector<std::int32_t> lens_ = {5000, 100, 0, 9000, 64};
  std::vector<Planner> planner_;
  std::vector<PlanBytes> bytes_;
};

TEST_F(DamagedPlan, IntactPlanPasses) {
  EXPECT_FALSE(noticed());
}

TEST_F(DamagedPlan, EveryFieldMatters) {
  const std::vector<std::pair<const char*, std::function<void()>>> damages = {
      {"stamp", [&] { header().stamp ^= 1; }},
      {"version", [&] { ++header().version; }},
      {"num_active", [&] { --header().num_active; }},
      {"num_active beyond capacity", [&] { header().num_active = 9; }},
      {"workers", [&] { ++header().workers; }},
      {"workers_active", [&] { --header().workers_active; }},
      {"workers_active beyond workers", [&] { header().workers_active = 17; }},
      {"total", [&] { ++header().total_cost; }},
      {"offset", [&] { header().requests_offset += 16; }},
      {"size", [&] { header().size_bytes += 16; }},
      {"len", [&] { ++request(0).len; }},
      {"first", [&] { ++request(0).first; }},
      {"cost prefix", [&] { ++request(1).cost_begin; }},
      {"worker stamp", [&] { worker(3).stamp ^= 4; }},
      {"begin tile", [&] { ++worker(3).begin_tile; }},
      {"end tile", [&] { --worker(3).end_tile; }},
      {"begin request", [&] { worker(3).begin_request = 4; }},
      {"end request beyond the step", [&] { worker(15).end_request = 5; }},
      {"begin unit", [&] { worker(1).begin_unit ^= 1; }},
      {"end unit beyond the request", [&] { worker(1).end_unit = 77; }},
      {"continued partials", [&] { ++worker(1).continued_partials; }},
      {"continued owner", [&] { ++worker(1).continued_owner; }},
      {"started partials", [&] { ++worker(0).started_partials; }},
  };
  const PlanBytes intact = bytes_[0];
  for (const auto& [name, damage] : damages) {
    bytes_[0] = intact;
    damage();
    EXPECT_TRUE(noticed()) << name;
  }
}

TEST_F(DamagedPlan, StalePlanIsNoticed) {
  lens_[0] += 64;
  EXPECT_TRUE(noticed());
}

TEST_F(DamagedPlan, PlanOfAnotherGeometryIsRefused) {
  AttentionGeometry other = geometry_;
  other.num_kv_heads = 1;
  const Result<PlanView> plan = PlanView::open(bytes_[0].span(), other);
  EXPECT_EQ(plan.status().code(), StatusCode::kPlanMismatch);
  EXPECT_THAT(plan.status().message(), ::testing::HasSubstr("another geometry"));
}

TEST(PlanView, OpenNeverReadsOutOfBoundsOnRandomDamage) {
  const std::uint64_t seed = 99;
  RandomCases cases(seed);
  for (int i = 0; i < 300; ++i) {
    const Case c = cases.next();
    const Result<Planner> planner = Planner::create(c.geometry, c.cost, c.limits);
    if (!planner.ok()) continue;
    PlanBytes bytes(planner->plan_bytes());
    ASSERT_TRUE(planner->make_plan(c.batch(), bytes.span()).ok());
    for (int flips = 0; flips < 20; ++flips) {
      const auto at = static_cast<std::size_t>(
          cases.uniform(0, static_cast<std::int32_t>(planner->plan_bytes()) - 1));
      bytes.span()[at] ^= static_cast<std::byte>(1 << cases.uniform(0, 7));
      const Result<PlanView> plan = PlanView::open(bytes.span(), c.geometry);
      if (!plan.ok()) continue;
      std::uint64_t segments = 0;
      for (std::uint32_t w = 0; w < plan->header().workers_active; ++w) {
        PlanView::SegmentCursor cursor = plan->first_segment(w);
        Segment segment;
        while (segments < 100000 && plan->next_segment(cursor, segment)) ++segments;
      }
      (void)check_plan(*plan, c.batch(), c.cost);
    }
  }
}

}  // namespace
}  // namespace onebeat
