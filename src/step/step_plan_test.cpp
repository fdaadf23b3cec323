// SPDX-License-Identifier: Apache-2.0
// The plans of a step are those that each class's planner makes of the lengths that the step
// writes.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "onebeat/step.h"

namespace onebeat {
namespace {

AttentionGeometry geometry(std::int32_t heads, std::int32_t kv_heads, std::int32_t window_left,
                           std::int32_t query_tokens) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = 128;
  g.page_tokens = 16;
  g.workers = 132;
  g.window_left = window_left;
  g.max_query_tokens = query_tokens;
  return g;
}

struct AlignedBytes {
  explicit AlignedBytes(std::size_t size, unsigned char fill)
      : blocks((size + sizeof(PlanHeader) - 1) / sizeof(PlanHeader)), size_bytes(size) {
    std::memset(static_cast<void*>(blocks.data()), fill, blocks.size() * sizeof(PlanHeader));
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(blocks.data()); }
  std::span<std::byte> span() { return {data(), size_bytes}; }
  std::vector<PlanHeader> blocks;
  std::size_t size_bytes;
};

TEST(StepPlans, EqualThePlannersBytesForEveryClass) {
  const std::vector<StepClass> classes = {{geometry(32, 8, -1, 4), {}},
                                          {geometry(32, 8, 511, 4), {}},
                                          {geometry(16, 2, 1023, 8), {.segment_overhead = 300}}};
  constexpr std::int32_t kRequests = 300;
  Result<StepPlanner> planner = StepPlanner::create(classes, 16, {kRequests, 200000, 4});
  ASSERT_TRUE(planner.ok()) << to_string(planner.status());
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const auto draw = [&](std::int32_t low, std::int32_t high) {
      return std::uniform_int_distribution<std::int32_t>(low, high)(random);
    };
    const std::int32_t active = draw(0, kRequests);
    const std::int32_t longest = 1 << draw(0, 17);
    std::vector<std::int32_t> lens, expected_lens, query_tokens;
    for (std::int32_t b = 0; b < kRequests; ++b) {
      query_tokens.push_back(seed % 3 == 0 ? 4 : draw(0, 4));
      lens.push_back(draw(0, longest));
      expected_lens.push_back(lens.back() + query_tokens.back());
    }
    expected_lens.resize(static_cast<std::size_t>(active));
    std::vector<AlignedBytes> plans, expected;
    StepArguments step;
    step.num_requests = kRequests;
    step.num_active = &active;
    step.lens = std::span<const std::int32_t>(lens);
    step.add_query_tokens = true;
    step.query_tokens = std::span<const std::int32_t>(query_tokens);
    for (std::size_t c = 0; c < classes.size(); ++c) {
      const Planner& of_class = planner->planner(static_cast<std::int32_t>(c));
      plans.emplace_back(of_class.plan_bytes(), 0xa5);
      expected.emplace_back(of_class.plan_bytes(), 0xa5);
      const PlanBatch batch{expected_lens,
                            std::span(query_tokens).first(static_cast<std::size_t>(active))};
      ASSERT_TRUE(of_class.make_plan(batch, expected.back().span()).ok());
    }
    for (std::size_t c = 0; c < classes.size(); ++c) step.plans[c] = plans[c].data();
    const Status status = planner->prepare(step);
    ASSERT_TRUE(status.ok()) << to_string(status);
    for (std::size_t c = 0; c < classes.size(); ++c) {
      EXPECT_EQ(std::memcmp(plans[c].data(), expected[c].data(), plans[c].size_bytes), 0)
          << "class " << c;
      const Result<PlanView> view = PlanView::open(plans[c].span(), classes[c].geometry);
      ASSERT_TRUE(view.ok()) << to_string(view.status());
      const PlanBatch batch{expected_lens,
                            std::span(query_tokens).first(static_cast<std::size_t>(active))};
      const Status sound =
          check_plan(*view, batch, planner->planner(static_cast<std::int32_t>(c)).cost_model());
      EXPECT_TRUE(sound.ok()) << to_string(sound);
    }
  }
}

TEST(StepPlans, PlanOfAUniformStepEqualsTheShortForm) {
  const StepClass of_class{geometry(8, 2, -1, 1), {}};
  Result<StepPlanner> planner = StepPlanner::create(std::span(&of_class, 1), 16, {8, 5000, 1});
  ASSERT_TRUE(planner.ok());
  const std::vector<std::int32_t> lens = {1, 4999, 64, 65, 0, 128, 1000, 5};
  AlignedBytes plan(planner->plan_bytes(0), 1), expected(planner->plan_bytes(0), 1);
  ASSERT_TRUE(planner->planner(0).make_plan({lens, {}}, expected.span()).ok());
  StepArguments step;
  step.num_requests = 8;
  step.lens = std::span<const std::int32_t>(lens);
  step.plans[0] = plan.data();
  ASSERT_TRUE(planner->prepare(step).ok());
  EXPECT_EQ(std::memcmp(plan.data(), expected.data(), plan.size_bytes), 0);
}

}  // namespace
}  // namespace onebeat
