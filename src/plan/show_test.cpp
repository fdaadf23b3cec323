// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "onebeat/plan.h"
#include "plan/plan_fixture.h"

namespace onebeat {
namespace {

using plan_fixture::PlanBytes;
using ::testing::HasSubstr;

class ShowPlan : public ::testing::Test {
 protected:
  ShowPlan() {
    AttentionGeometry geometry;
    geometry.num_heads = 4;
    geometry.num_kv_heads = 1;
    geometry.head_dim = geometry.head_dim_v = 64;
    geometry.workers = 3;
    const CostModel cost{256, 1, 0};
    planner_.push_back(*Planner::create(geometry, cost, {4, 4096}));
    bytes_.emplace_back(planner_[0].plan_bytes());
    plan_.push_back(*planner_[0].make_plan({lens_}, bytes_[0].span()));
  }
  const CostModel& cost() const { return planner_[0].cost_model(); }
  const PlanView& plan() const { return plan_[0]; }

  // Costs 11, 2 and 2 tiles: 15 in all, 5 for each worker; request 0 is cut behind 4 and 9 tiles.
  std::vector<std::int32_t> lens_ = {640, 64, 10};
  std::vector<Planner> planner_;
  std::vector<PlanBytes> bytes_;
  std::vector<PlanView> plan_;
};

TEST_F(ShowPlan, TextNamesWorkersSegmentsSlotsAndCounters) {
  const std::string text = to_string(plan(), cost());
  EXPECT_THAT(text, HasSubstr("3 of 3 workers active"));
  EXPECT_THAT(text, HasSubstr("worker    0:  r0 h0 [0, 256) -> slot 1 (1 of 3, counter 0)\n"));
  EXPECT_THAT(text, HasSubstr("worker    1:  r0 h0 [256, 576) -> slot 2 (1 of 3, counter 0)\n"));
  EXPECT_THAT(text, HasSubstr("worker    2:  r0 h0 [576, 640) -> slot 4 (1 of 3, counter 0)  r1 h0 "
                              "[0, 64)  r2 h0 [0, 10)\n"));
}

TEST_F(ShowPlan, JsonHasTheDocumentedShape) {
  const std::string json = to_json(plan(), cost());
  EXPECT_THAT(json, HasSubstr("\"window\":-1"));
  EXPECT_THAT(json, HasSubstr("\"workers_active\":3"));
  EXPECT_THAT(json, HasSubstr("\"scratch_rows\":3"));
  EXPECT_THAT(json, HasSubstr("{\"worker\":0,\"segments\":[{\"request\":0,\"kv_head\":0,\"query_"
                              "tile\":0,\"token_begin\":0,"
                              "\"token_end\":256,\"slot\":1,\"merge\":3}]}"));
  EXPECT_THAT(json, HasSubstr("\"token_begin\":0,\"token_end\":10,\"slot\":null,\"merge\":null}"));
}

TEST_F(ShowPlan, PictureHasALaneForEachWorkerAndAMarkForEachPartial) {
  const std::string svg = to_svg(plan(), cost());
  const auto count = [&](const std::string& needle) {
    std::size_t n = 0;
    for (std::size_t at = svg.find(needle); at != std::string::npos; at = svg.find(needle, at + 1))
      ++n;
    return n;
  };
  EXPECT_EQ(count("<circle"), 3u);
  EXPECT_EQ(count("<title>request"), 5u);
  EXPECT_THAT(svg, HasSubstr("balance"));
  EXPECT_THAT(svg, HasSubstr("</svg>"));
}

}  // namespace
}  // namespace onebeat
