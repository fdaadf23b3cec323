// SPDX-License-Identifier: Apache-2.0
// Planners of the C ABI: the same bytes, sizes and texts as the C++ ones.
#include <cstring>
#include <random>
#include <string>

#include "c_api/sound_calls_for_test.h"
#include "onebeat/step.h"

namespace onebeat::c_api {
namespace {

struct alignas(16) Block {
  std::byte bytes[16];
};

TEST(CPlanner, SizesAreThePlanners) {
  SoundCalls calls(small_batch());
  const AttentionGeometry& g = calls.batch.options.geometry;
  const auto planner = Planner::create(g, {}, {calls.limits.max_requests, 1 << 20});
  ASSERT_TRUE(planner.ok());
  onebeat_sizes sizes = onebeat_sizes_init();
  ASSERT_EQ(onebeat_planner_sizes(calls.planner.get(), 0, &sizes, nullptr), ONEBEAT_OK);
  EXPECT_EQ(sizes.size, sizeof sizes);
  EXPECT_EQ(sizes.stamp, plan_stamp(g));
  EXPECT_EQ(sizes.workers, g.workers);
  EXPECT_EQ(sizes.capacity, 4);
  EXPECT_EQ(sizes.plan_bytes, static_cast<std::int64_t>(planner->plan_bytes()));
  EXPECT_EQ(sizes.scratch_output_floats, planner->scratch_size().output_floats);
  EXPECT_EQ(sizes.scratch_stats_floats, planner->scratch_size().stats_floats);
  EXPECT_EQ(sizes.scratch_counters, planner->scratch_size().counters);
  EXPECT_EQ(sizes.segment_overhead, planner->cost_model().segment_overhead);
  EXPECT_EQ(sizes.min_worker_cost, planner->cost_model().min_worker_cost);
  EXPECT_GT(sizes.min_worker_cost, 0u) << "raised to what the division needs";
}

/// All that a step can write, through one interface or the other.
struct StepOutputs {
  std::vector<std::int32_t> lens = std::vector<std::int32_t>(3, -7);
  std::vector<std::int32_t> cu_q = std::vector<std::int32_t>(4, -7);
  std::vector<std::int32_t> cu_k = std::vector<std::int32_t>(4, -7);
  std::vector<std::int32_t> positions = std::vector<std::int32_t>(6, -7);
  std::vector<std::int32_t> slots = std::vector<std::int32_t>(6, -7);
  std::vector<std::int32_t> window_slots = std::vector<std::int32_t>(6, -7);
  std::vector<std::int32_t> table = std::vector<std::int32_t>(3 * 8, -7);
  std::vector<std::int32_t> window_table = std::vector<std::int32_t>(3 * 8, -7);
  std::vector<std::int32_t> page_rows;
  std::vector<Block> plans[2];
  std::vector<std::uint32_t> counters[2];
  friend bool operator==(const StepOutputs& a, const StepOutputs& b) {
    const auto same = [](const std::vector<Block>& x, const std::vector<Block>& y) {
      return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * 16) == 0;
    };
    return a.lens == b.lens && a.cu_q == b.cu_q && a.cu_k == b.cu_k && a.positions == b.positions &&
           a.slots == b.slots && a.window_slots == b.window_slots && a.table == b.table &&
           a.window_table == b.window_table && a.page_rows == b.page_rows &&
           same(a.plans[0], b.plans[0]) && same(a.plans[1], b.plans[1]) &&
           a.counters[0] == b.counters[0] && a.counters[1] == b.counters[1];
  }
};

TEST(CPlanner, EveryFieldOfAStepReachesThePreparer) {
  AttentionGeometry full = small_batch().geometry;
  full.max_query_tokens = 2;
  AttentionGeometry window = full;
  window.window_left = 20;
  const CostModel cost{300, 2, 900};
  const StepClass classes[] = {{full, cost}, {window, {}}};
  auto twin = StepPlanner::create(classes, 16, {3, 1000, 2});
  ASSERT_TRUE(twin.ok()) << to_string(twin.status());

  const onebeat_geometry geometries[] = {geometry_for_c(full), geometry_for_c(window)};
  const onebeat_geometry* pointers[] = {&geometries[0], &geometries[1]};
  onebeat_cost_model c_cost = onebeat_cost_model_init();
  c_cost.segment_overhead = 300;
  c_cost.min_tiles = 2;
  c_cost.min_worker_cost = 900;
  const onebeat_cost_model* costs[] = {&c_cost, nullptr};
  onebeat_limits limits = onebeat_limits_init();
  limits.max_requests = 3;
  limits.max_context_tokens = 1000;
  limits.max_query_tokens = 2;
  onebeat_planner* made = nullptr;
  onebeat_error error = onebeat_error_init();
  ASSERT_EQ(onebeat_planner_create(ONEBEAT_CPU, pointers, costs, 2, &limits, &made, &error),
            ONEBEAT_OK)
      << error.message;
  const OwnedPlanner planner(made);

  const unsigned seed = 7;
  std::mt19937 random(seed);
  std::vector<std::int32_t> page_rows(5 * 8);
  for (auto& page : page_rows) page = static_cast<std::int32_t>(random() % 40);
  std::vector<std::int64_t> window_slot_of(40 * 16);
  for (auto& slot : window_slot_of) slot = static_cast<std::int64_t>(random() % 320);
  const std::int64_t lens[] = {60, -1, 5, -1, 90, -1, 100, -1, 3, -1};  // by row, every second
  const std::int32_t query_tokens[] = {1, 2, 1};
  const std::int64_t rows_of[] = {4, 1, 2};
  const std::int32_t active = 2;
  const std::int32_t update_begin[] = {0, 1, 2, 2};
  const onebeat_page_update updates[] = {{0, 17}, {0, 9}};
  const auto empty_outputs = [&] {
    StepOutputs out;
    out.page_rows = page_rows;
    for (std::size_t c = 0; c < 2; ++c) {
      const auto index = static_cast<std::int32_t>(c);
      out.plans[c].resize(twin->plan_bytes(index) / 16 + 1);
      out.counters[c].assign(static_cast<std::size_t>(twin->planner(index).scratch_size().counters),
                             9);
    }
    return out;
  };

  StepOutputs expected = empty_outputs();
  {
    StepArguments step;
    step.num_requests = 3;
    step.num_active = &active;
    step.lens = {lens, 5, 2, IndexType::kI64};
    step.lens_by_row = true;
    step.add_query_tokens = true;
    step.len_delta = 1;
    step.query_tokens = {query_tokens, 3, 1, IndexType::kI32};
    step.rows_of = {rows_of, 3, 1, IndexType::kI64};
    step.page_map = PageMapKind::kPages;
    step.pages = {expected.page_rows.data(), 5, 8, 8, 1, IndexType::kI32};
    const PageUpdate twins_updates[] = {{0, 17}, {0, 9}};
    step.updates = {update_begin, twins_updates, 2, expected.page_rows.data()};
    step.pool_pages = 40;
    step.window_slot_of = {window_slot_of.data(), static_cast<std::int64_t>(window_slot_of.size()),
                           1, IndexType::kI64};
    step.out_lens = std::span<std::int32_t>(expected.lens);
    step.cu_seqlens_q = std::span<std::int32_t>(expected.cu_q);
    step.cu_seqlens_k = std::span<std::int32_t>(expected.cu_k);
    step.positions = std::span<std::int32_t>(expected.positions);
    step.slots = std::span<std::int32_t>(expected.slots);
    step.window_slots = std::span<std::int32_t>(expected.window_slots);
    step.tables = TableContract::kDense;
    step.dense_pages = 7;
    step.page_table = {expected.table.data(), 3, 8, 8, 1};
    step.window_table = {expected.window_table.data(), 3, 8, 8, 1};
    for (std::size_t c = 0; c < 2; ++c) {
      step.plans[c] = expected.plans[c][0].bytes;
      step.counters[c] = expected.counters[c].data();
    }
    ASSERT_TRUE(twin->prepare(step).ok()) << to_string(twin->prepare(step));
  }
  ASSERT_FALSE(expected == empty_outputs());

  StepOutputs got = empty_outputs();
  onebeat_step step = onebeat_step_init();
  step.num_requests = 3;
  step.num_active = &active;
  step.lens = {lens, 5, 2, ONEBEAT_INDEX_I64, 0};
  step.lens_by_row = 1;
  step.add_query_tokens = 1;
  step.len_delta = 1;
  step.query_tokens = onebeat_i32_array(query_tokens, 3);
  step.rows_of = {rows_of, 3, 1, ONEBEAT_INDEX_I64, 0};
  step.page_map = ONEBEAT_PAGE_MAP_PAGES;
  step.pages = onebeat_i32_table(got.page_rows.data(), 5, 8);
  step.update_begin = update_begin;
  step.updates = updates;
  step.num_updates = 2;
  step.update_page_rows = got.page_rows.data();
  step.pool_pages = 40;
  step.window_slot_of = {window_slot_of.data(), static_cast<std::int64_t>(window_slot_of.size()), 1,
                         ONEBEAT_INDEX_I64, 0};
  step.out_lens = onebeat_i32_output(got.lens.data(), 3);
  step.cu_seqlens_q = onebeat_i32_output(got.cu_q.data(), 4);
  step.cu_seqlens_k = onebeat_i32_output(got.cu_k.data(), 4);
  step.positions = onebeat_i32_output(got.positions.data(), 6);
  step.slots = onebeat_i32_output(got.slots.data(), 6);
  step.window_slots = onebeat_i32_output(got.window_slots.data(), 6);
  step.tables = ONEBEAT_TABLES_DENSE;
  step.dense_pages = 7;
  step.page_table = {got.table.data(), 3, 8, 8, 1};
  step.window_table = {got.window_table.data(), 3, 8, 8, 1};
  for (std::size_t c = 0; c < 2; ++c) {
    step.plans[c] = got.plans[c].data();
    step.counters[c] = got.counters[c].data();
  }
  ASSERT_EQ(onebeat_prepare_step(planner.get(), &step, nullptr, &error), ONEBEAT_OK)
      << error.message;
  EXPECT_TRUE(got == expected);
}

TEST(CPlanner, PlansAreProvedAndShown) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK) << calls.error.message;
  EXPECT_EQ(calls.out_lens, calls.batch.options.lens);
  const std::vector<std::int32_t>& lens = calls.batch.options.lens;
  const auto check = [&](const std::int32_t* some) {
    return onebeat_check_plan(calls.planner.get(), 0, &calls.plan, some, nullptr, 4, &calls.error);
  };
  EXPECT_EQ(check(lens.data()), ONEBEAT_OK) << calls.error.message;
  const std::int32_t others[] = {301, 1, 0, 33};
  EXPECT_EQ(check(others), ONEBEAT_INTERNAL);
  EXPECT_THAT(calls.error.message, testing::HasSubstr("request 0"));

  const auto view = PlanView::open(
      {static_cast<const std::byte*>(calls.plan.data), static_cast<std::size_t>(calls.plan.bytes)},
      calls.batch.options.geometry);
  ASSERT_TRUE(view.ok());
  onebeat_sizes sizes = onebeat_sizes_init();
  ASSERT_EQ(onebeat_planner_sizes(calls.planner.get(), 0, &sizes, nullptr), ONEBEAT_OK);
  const CostModel cost{sizes.segment_overhead, sizes.min_tiles, sizes.min_worker_cost};
  const std::string texts[] = {to_string(*view, cost), to_json(*view, cost), to_svg(*view, cost)};
  for (onebeat_plan_format format = 0; format < 3; ++format) {
    const std::string& text = texts[format];
    std::size_t length = 0;
    const auto show = [&](char* buffer) {
      return onebeat_show_plan(calls.planner.get(), 0, &calls.plan, format, buffer, &length,
                               &calls.error);
    };
    ASSERT_EQ(show(nullptr), ONEBEAT_OK) << calls.error.message;
    ASSERT_EQ(length, text.size() + 1);
    std::vector<char> buffer(length, 'x');
    ASSERT_EQ(show(buffer.data()), ONEBEAT_OK);
    EXPECT_EQ(std::string(buffer.data()), text);
    buffer.assign(text.size(), 'x');
    length = text.size();
    EXPECT_EQ(show(buffer.data()), ONEBEAT_OUT_OF_RANGE);
    EXPECT_EQ(length, text.size() + 1);
    EXPECT_EQ(buffer, std::vector<char>(text.size(), 'x')) << "nothing was written";
  }
}

TEST(CPlanner, ABatchOfLessQueryTokensIsProvedWithThem) {
  BatchOptions options = small_batch();
  options.geometry.max_query_tokens = 4;
  options.lens = {300, 9, 0, 33};
  options.query_tokens = {4, 2, 0, 1};
  SoundCalls calls(options);
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK) << calls.error.message;
  const auto check = [&](const std::int32_t* query_tokens) {
    return onebeat_check_plan(calls.planner.get(), 0, &calls.plan, options.lens.data(),
                              query_tokens, 4, &calls.error);
  };
  EXPECT_EQ(check(options.query_tokens.data()), ONEBEAT_OK) << calls.error.message;
  EXPECT_EQ(check(nullptr), ONEBEAT_INTERNAL);
}

TEST(CPlanner, HeadsOfARankAndTuning) {
  std::int32_t heads = 32;
  std::int32_t kv_heads = 4;
  EXPECT_EQ(onebeat_heads_of_rank(8, &heads, &kv_heads, nullptr), ONEBEAT_OK);
  EXPECT_EQ(heads, 4);
  EXPECT_EQ(kv_heads, 1);
  EXPECT_EQ(onebeat_heads_of_rank(3, &heads, &kv_heads, nullptr), ONEBEAT_INVALID_ARGUMENT);
  EXPECT_EQ(heads, 4);

  onebeat_geometry geometry = geometry_for_c(small_batch().geometry);
  onebeat_cost_model cost = onebeat_cost_model_init();
  ASSERT_EQ(onebeat_tune(ONEBEAT_CPU, &geometry, &cost, nullptr), ONEBEAT_OK);
  EXPECT_EQ(onebeat_check_geometry(&geometry, nullptr), ONEBEAT_OK);
  EXPECT_GE(geometry.workers, 1);
  EXPECT_EQ(geometry.num_heads, 4) << "untouched";
}

}  // namespace
}  // namespace onebeat::c_api
