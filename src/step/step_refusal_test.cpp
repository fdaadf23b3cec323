// SPDX-License-Identifier: Apache-2.0
// What prepare() refuses: each with a message that names the numbers, and with every output
// untouched.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "onebeat/step.h"

namespace onebeat {
namespace {

using Row = std::vector<std::int32_t>;
constexpr std::int32_t kSentinel = -77;

TEST(StepPlannerCreate, RefusesPagesThatAreNoPowerOfTwo) {
  for (const std::int32_t page : {0, -1, 3, 6, 10, 48}) {
    const Result<StepPlanner> planner = StepPlanner::create({}, page, {4, 100, 1});
    ASSERT_FALSE(planner.ok()) << page;
    EXPECT_EQ(planner.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(planner.status().message().find(std::to_string(page)), std::string::npos);
  }
}

TEST(StepPlannerCreate, RefusesLimitsBeyondTheFormat) {
  EXPECT_EQ(StepPlanner::create({}, 1, {65537, 100, 1}).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(StepPlanner::create({}, 1, {-1, 100, 1}).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(StepPlanner::create({}, 1, {1, 0, 1}).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(StepPlanner::create({}, 1, {1, 1ll << 31, 1}).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(StepPlanner::create({}, 1, {1, 100, 17}).status().code(), StatusCode::kOutOfRange);
}

TEST(StepPlannerCreate, RefusesClassesOfAnotherPage) {
  StepClass of_class;
  of_class.geometry.num_heads = 8;
  of_class.geometry.num_kv_heads = 2;
  of_class.geometry.head_dim = of_class.geometry.head_dim_v = 64;
  of_class.geometry.page_tokens = 32;
  const Status status = StepPlanner::create(std::span(&of_class, 1), 16, {4, 100, 1}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("32"), std::string::npos) << status.message();
}

/// A sound step of everything at once; each test spoils one thing.
class Refusal : public testing::Test {
 protected:
  StepArguments sound() {
    StepArguments step;
    step.num_requests = 3;
    step.lens = std::span<const std::int32_t>(lens);
    step.rows_of = std::span<const std::int32_t>(rows);
    step.page_map = PageMapKind::kPages;
    step.pages = {page_rows.data(), 3, 4, 4};
    step.pool_pages = 64;
    step.window_slot_of = std::span<const std::int32_t>(window_of);
    step.out_lens = std::span<std::int32_t>(out_lens);
    step.cu_seqlens_q = std::span<std::int32_t>(cu_q);
    step.cu_seqlens_k = std::span<std::int32_t>(cu_k);
    step.positions = std::span<std::int32_t>(positions);
    step.slots = std::span<std::int32_t>(slots);
    step.window_slots = std::span<std::int32_t>(window_slots);
    step.tables = TableContract::kDense;
    step.dense_pages = 4;
    step.page_table = {table.data(), 3, 4, 4};
    step.window_table = {window_table.data(), 3, 4, 4};
    step.plans[0] = reinterpret_cast<std::byte*>(plan.data());
    step.counters[0] = counters.data();
    return step;
  }

  void SetUp() override {
    StepClass of_class;
    of_class.geometry.num_heads = 8;
    of_class.geometry.num_kv_heads = 2;
    of_class.geometry.head_dim = of_class.geometry.head_dim_v = 64;
    of_class.geometry.page_tokens = 8;
    of_class.geometry.workers = 4;
    of_class.geometry.max_query_tokens = 2;
    Result<StepPlanner> made = StepPlanner::create(std::span(&of_class, 1), 8, {4, 100, 4});
    ASSERT_TRUE(made.ok()) << to_string(made.status());
    planner.emplace(std::move(*made));
    plan.assign(planner->plan_bytes(0) / sizeof(PlanHeader) + 1, untouched_header());
    counters.assign(static_cast<std::size_t>(planner->planner(0).scratch_size().counters),
                    0xabcdef01u);
  }

  static PlanHeader untouched_header() {
    PlanHeader header;
    header.stamp = 0x12345678u;
    return header;
  }

  void expect_refused(const StepArguments& step, StatusCode code,
                      const std::vector<std::string>& words) {
    const Row pages_before = page_rows;
    const Status status = planner->prepare(step);
    EXPECT_EQ(status.code(), code) << to_string(status);
    for (const std::string& word : words) {
      EXPECT_NE(status.message().find(word), std::string::npos)
          << '"' << word << "\" not in: " << status.message();
    }
    for (const Row* row :
         {&out_lens, &cu_q, &cu_k, &positions, &slots, &window_slots, &table, &window_table}) {
      for (const std::int32_t value : *row) ASSERT_EQ(value, kSentinel);
    }
    for (const PlanHeader& header : plan) ASSERT_EQ(header.stamp, 0x12345678u);
    for (const std::uint32_t counter : counters) ASSERT_EQ(counter, 0xabcdef01u);
    EXPECT_EQ(page_rows, pages_before);
  }

  std::optional<StepPlanner> planner;
  Row lens = {9, 10, 32}, rows = {2, 0, 1};
  Row page_rows = {10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33};
  Row window_of = Row(64 * 8, 5);
  Row out_lens = Row(3, kSentinel), cu_q = Row(4, kSentinel), cu_k = Row(4, kSentinel);
  Row positions = Row(3, kSentinel), slots = Row(3, kSentinel), window_slots = Row(3, kSentinel);
  Row table = Row(12, kSentinel), window_table = Row(12, kSentinel);
  std::vector<PlanHeader> plan;
  std::vector<std::uint32_t> counters;
};

TEST_F(Refusal, TheSoundStepPasses) {
  const Status status = planner->prepare(sound());
  EXPECT_TRUE(status.ok()) << to_string(status);
  EXPECT_NE(plan[0].stamp, 0x12345678u);
  EXPECT_EQ(counters, std::vector<std::uint32_t>(counters.size(), 0));
}

TEST_F(Refusal, LengthsBeyondTheMapTheTableAndTheLimit) {
  lens[1] = 33;
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "33", "32"});
  lens[1] = 101;
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "101", "100"});
  lens[1] = -1;
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "-1"});
  lens[1] = 10;
  StepArguments step = sound();
  step.dense_pages = 3;
  expect_refused(step, StatusCode::kOutOfRange, {"request 2", "32", "24"});
  step.tables = TableContract::kLive;
  step.page_table.columns = 2;
  expect_refused(step, StatusCode::kOutOfRange, {"request 2", "32", "16"});
  step = sound();
  step.len_delta = std::numeric_limits<std::int32_t>::max();
  expect_refused(step, StatusCode::kOutOfRange, {"request 0", "2147483656"});
}

TEST_F(Refusal, WideLengthsThatWouldWrapAround) {
  const std::vector<std::int64_t> wide = {9, (std::int64_t{1} << 32) + 10, 32};
  StepArguments step = sound();
  step.lens = std::span<const std::int64_t>(wide);
  expect_refused(step, StatusCode::kOutOfRange, {"request 1", "4294967306"});
}

TEST_F(Refusal, BatchSizes) {
  StepArguments step = sound();
  step.num_requests = 5;
  expect_refused(step, StatusCode::kOutOfRange, {"5", "4"});
  for (const std::int32_t active : {-1, 4}) {
    step = sound();
    step.num_active = &active;
    expect_refused(step, StatusCode::kOutOfRange, {"num_active", std::to_string(active)});
  }
}

TEST_F(Refusal, RowsOutsideTheMap) {
  for (const std::int32_t row : {-1, 3}) {
    rows[2] = row;
    expect_refused(sound(), StatusCode::kOutOfRange, {"request 2", std::to_string(row)});
  }
}

TEST_F(Refusal, QueryTokens) {
  Row counts = {1, 5, 1};
  StepArguments step = sound();
  step.query_tokens = std::span<const std::int32_t>(counts);
  expect_refused(step, StatusCode::kOutOfRange, {"request 1", "5", "4"});
  counts[1] = 2;
  expect_refused(step, StatusCode::kOutOfRange, {"positions", "3", "4"});
  counts = {0, 3, 0};
  expect_refused(step, StatusCode::kOutOfRange, {"request 1", "3", "class 0"});
  counts = {0, 2, 0};
  lens[1] = 1;
  expect_refused(step, StatusCode::kOutOfRange, {"request 1", "length 1", "2 query"});
}

TEST_F(Refusal, SlotsOutsideThePools) {
  page_rows[1] = 64;  // row 0 is request 1, whose new token lies in page 1
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "513", "512"});
  page_rows[1] = -3;
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "-23"});
  page_rows[1] = 11;
  window_of[11 * 8 + 1] = -1;
  expect_refused(sound(), StatusCode::kOutOfRange, {"request 1", "89", "sliding-window"});
}

TEST_F(Refusal, Updates) {
  Row begin = {0, 1, 1, 1};
  std::vector<PageUpdate> entries = {{4, 9}};
  StepArguments step = sound();
  step.updates = {begin.data(), entries.data(), 1, page_rows.data()};
  expect_refused(step, StatusCode::kOutOfRange, {"update 0", "column 4"});
  entries[0].column = 0;
  begin[3] = 2;
  expect_refused(step, StatusCode::kOutOfRange, {"begin[3] is 2"});
  begin = {0, 1, 0, 1};
  expect_refused(step, StatusCode::kOutOfRange, {"begin[2] is 0"});
  begin = {0, 1, 1, 1};
  step.updates.page_rows = begin.data();
  expect_refused(step, StatusCode::kInvalidArgument, {"page_rows"});
}

TEST_F(Refusal, ViewsThatContradictEachOther) {
  const auto spoil = [&](StatusCode code, const std::vector<std::string>& words,
                         const std::function<void(StepArguments&)>& change) {
    StepArguments step = sound();
    change(step);
    expect_refused(step, code, words);
  };
  using enum StatusCode;
  spoil(kOutOfRange, {"lens", "2", "3"}, [](auto& s) { s.lens.size = 2; });
  spoil(kInvalidArgument, {"lens", "null"}, [](auto& s) { s.lens.data = nullptr; });
  spoil(kOutOfRange, {"rows_of", "2", "3"}, [](auto& s) { s.rows_of.size = 2; });
  spoil(kOutOfRange, {"out_lens", "2", "3"}, [](auto& s) { s.out_lens.size = 2; });
  spoil(kOutOfRange, {"cu_seqlens_k", "3", "4"}, [](auto& s) { s.cu_seqlens_k.size = 3; });
  spoil(kOutOfRange, {"cu_seqlens_q", "3", "4"}, [](auto& s) { s.cu_seqlens_q.size = 3; });
  spoil(kOutOfRange, {"slots", "2", "3"}, [](auto& s) { s.slots.size = 2; });
  spoil(kInvalidArgument, {"out_lens"}, [&](auto& s) { s.out_lens.data = lens.data(); });
  spoil(kOutOfRange, {"page_table", "2", "3"}, [](auto& s) { s.page_table.rows = 2; });
  spoil(kOutOfRange, {"window_table", "3", "4"}, [](auto& s) { s.window_table.columns = 3; });
  spoil(kOutOfRange, {"dense_pages is 5", "4"}, [](auto& s) {
    s.dense_pages = 5;
    s.page_table.columns = s.window_table.columns = 5;
    s.page_table.rows = s.window_table.rows = 3;
  });
  spoil(kInvalidArgument, {"dense_pages"}, [](auto& s) { s.dense_pages = -1; });
  spoil(kInvalidArgument, {"window_slot_of"}, [](auto& s) { s.window_slot_of = {}; });
  spoil(kInvalidArgument, {"window_slot_of"}, [](auto& s) {
    s.window_table = {};
    s.window_slots = {};
  });
  spoil(kInvalidArgument, {"exclude"}, [](auto& s) { s.window_identity = true; });
  spoil(kInvalidArgument, {"page map"}, [](auto& s) { s.page_map = PageMapKind::kNone; });
  spoil(kInvalidArgument, {"contract"}, [](auto& s) { s.tables = TableContract::kNone; });
  spoil(kOutOfRange, {"2 rows", "3"}, [](auto& s) {
    s.rows_of = {};
    s.pages.rows = 2;
  });
  spoil(kInvalidArgument, {"16 bytes"}, [](auto& s) { s.plans[0] += 8; });
  spoil(kOutOfRange, {"class 1", "1 classes"}, [](auto& s) { s.plans[1] = s.plans[0]; });
}

}  // namespace
}  // namespace onebeat
