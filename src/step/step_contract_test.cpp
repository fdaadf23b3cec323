// SPDX-License-Identifier: Apache-2.0
// New tokens (positions, slots, window slots), unequal query counts, lengths kept by row, and page
// updates.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "onebeat/step.h"

namespace onebeat {
namespace {

using Row = std::vector<std::int32_t>;
constexpr std::int32_t kSentinel = -77;

StepPlanner tables_only(std::int32_t page_tokens, std::int32_t max_query_tokens = 16) {
  Result<StepPlanner> planner =
      StepPlanner::create({}, page_tokens, {64, 1 << 20, max_query_tokens});
  EXPECT_TRUE(planner.ok()) << to_string(planner.status());
  return std::move(*planner);
}

/// Three rows of four pages of 8 tokens; requests use rows 2, 0, 1.
struct PagedBatch {
  Row page_rows = {10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33};
  Row rows = {2, 0, 1};
  Row lens = {8, 9, 31};  // before the step's tokens
  Row out_lens = Row(3, kSentinel), cu_q = Row(4, kSentinel), cu_k = Row(4, kSentinel);
  Row positions = Row(12, kSentinel), slots = Row(12, kSentinel);

  StepArguments arguments() {
    StepArguments step;
    step.num_requests = 3;
    step.lens = std::span<const std::int32_t>(lens);
    step.add_query_tokens = true;
    step.rows_of = std::span<const std::int32_t>(rows);
    step.page_map = PageMapKind::kPages;
    step.pages = {page_rows.data(), 3, 4, 4};
    step.pool_pages = 64;
    step.out_lens = std::span<std::int32_t>(out_lens);
    step.cu_seqlens_q = std::span<std::int32_t>(cu_q);
    step.cu_seqlens_k = std::span<std::int32_t>(cu_k);
    step.positions = std::span<std::int32_t>(positions);
    step.slots = std::span<std::int32_t>(slots);
    return step;
  }
};

Row padded(Row values, std::size_t size) {
  values.resize(size, kSentinel);
  return values;
}

TEST(NewTokens, OneTokenEach) {
  PagedBatch batch;
  ASSERT_TRUE(tables_only(8).prepare(batch.arguments()).ok());
  EXPECT_EQ(batch.out_lens, (Row{9, 10, 32}));
  EXPECT_EQ(batch.cu_q, (Row{0, 1, 2, 3}));
  EXPECT_EQ(batch.cu_k, (Row{0, 9, 19, 51}));
  EXPECT_EQ(batch.positions, padded({8, 9, 31}, 12));
  EXPECT_EQ(batch.slots, padded({31 * 8, 11 * 8 + 1, 23 * 8 + 7}, 12));
}

TEST(NewTokens, UnequalCountsAcrossPageEdges) {
  PagedBatch batch;
  const std::vector<std::int64_t> counts = {3, 0, 1};
  batch.lens = {6, 9, 15};
  StepArguments step = batch.arguments();
  step.query_tokens = std::span<const std::int64_t>(counts);
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.out_lens, (Row{9, 9, 16}));
  EXPECT_EQ(batch.cu_q, (Row{0, 3, 3, 4}));
  EXPECT_EQ(batch.positions, padded({6, 7, 8, 15}, 12));
  EXPECT_EQ(batch.slots, padded({30 * 8 + 6, 30 * 8 + 7, 31 * 8, 21 * 8 + 7}, 12));
}

TEST(NewTokens, AnEmptyRequestHasNoSlot) {
  PagedBatch batch;
  batch.lens = {8, 0, 20};
  StepArguments step = batch.arguments();
  step.add_query_tokens = false;
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.out_lens, (Row{8, 0, 20}));
  EXPECT_EQ(batch.positions, padded({7, 0, 19}, 12));
  EXPECT_EQ(batch.slots, padded({30 * 8 + 7, -1, 22 * 8 + 3}, 12));
}

TEST(NewTokens, SlotMapGivesTheSlotItself) {
  PagedBatch batch;
  batch.lens = {1, 2, 3};
  StepArguments step = batch.arguments();
  step.page_map = PageMapKind::kSlots;
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.slots, padded({31, 12, 23}, 12));
}

TEST(NewTokens, WindowSlotsAreTranslated) {
  PagedBatch batch;
  Row window_of(64 * 8);
  for (std::size_t s = 0; s < window_of.size(); ++s) {
    window_of[s] = static_cast<std::int32_t>((s * 7) % 512);
  }
  Row window_slots(12, kSentinel);
  StepArguments step = batch.arguments();
  step.window_slot_of = std::span<const std::int32_t>(window_of);
  step.window_slots = std::span<std::int32_t>(window_slots);
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(window_slots, padded({248 * 7 % 512, 89 * 7 % 512, 191 * 7 % 512}, 12));
  step.window_slot_of = {};
  step.window_identity = true;
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(window_slots, batch.slots);
}

TEST(Lengths, KeptByRow) {
  PagedBatch batch;
  batch.lens = {9, 31, 8};  // of rows 0, 1, 2
  StepArguments step = batch.arguments();
  step.lens_by_row = true;
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.out_lens, (Row{9, 10, 32}));
}

TEST(Lengths, NegativeStrideAndStrideZero) {
  PagedBatch batch;
  batch.lens = {31, 9, 8};
  StepArguments step = batch.arguments();
  step.lens = {batch.lens.data() + 2, 3, -1, IndexType::kI32};
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.out_lens, (Row{9, 10, 32}));
  step.lens = {batch.lens.data() + 1, 3, 0, IndexType::kI32};
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.out_lens, (Row{10, 10, 10}));
}

TEST(Lengths, SumsWrapLike32BitAdditions) {
  StepPlanner planner = std::move(*StepPlanner::create({}, 1, {4, 2147483647, 1}));
  const Row lens = {2147483647, 2147483647, 2147483647};
  Row cu_k(4, kSentinel);
  StepArguments step;
  step.num_requests = 3;
  step.lens = std::span<const std::int32_t>(lens);
  step.cu_seqlens_k = std::span<std::int32_t>(cu_k);
  ASSERT_TRUE(planner.prepare(step).ok());
  EXPECT_EQ(cu_k, (Row{0, 2147483647, -2, 2147483645}));
}

TEST(Tables, PageMapIsCopiedWithAndWithoutWindow) {
  PagedBatch batch;
  Row window_of(64 * 8, 0);
  for (std::size_t s = 0; s < window_of.size(); ++s)
    window_of[s] = 511 - static_cast<std::int32_t>(s);
  Row table(15, kSentinel), window_table(15, kSentinel);
  StepArguments step = batch.arguments();
  step.tables = TableContract::kLive;
  step.page_table = {table.data(), 3, 5, 5};
  step.window_table = {window_table.data(), 3, 5, 5};
  step.window_slot_of = std::span<const std::int32_t>(window_of);
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  const std::int32_t n = kSentinel;
  EXPECT_EQ(table, (Row{30, 31, n, n, n, 10, 11, n, n, n, 20, 21, 22, 23, n}));
  // The first slot of page p is 8p, mapped to 511 - 8p, of page 63 - p.
  EXPECT_EQ(window_table, (Row{33, 32, n, n, n, 53, 52, n, n, n, 43, 42, 41, 40, n}));
}

TEST(Tables, FreedAndForeignSlotsBecomePageZeroInTheWindowTable) {
  const Row lens = {4};
  const std::vector<std::int64_t> slots = {2, -1, 3, 99};
  const std::vector<std::int64_t> window_of = {0, 0, 5, -1};
  Row table(4, kSentinel), window_table(4, kSentinel);
  StepArguments step;
  step.num_requests = 1;
  step.lens = std::span<const std::int32_t>(lens);
  step.page_map = PageMapKind::kSlots;
  step.pages = {slots.data(), 1, 4, 4, 1, IndexType::kI64};
  step.window_slot_of = std::span<const std::int64_t>(window_of);
  step.tables = TableContract::kLive;
  step.page_table = {table.data(), 1, 4, 4};
  step.window_table = {window_table.data(), 1, 4, 4};
  ASSERT_TRUE(tables_only(1).prepare(step).ok());
  EXPECT_EQ(table, (Row{2, -1, 3, 99}));
  EXPECT_EQ(window_table, (Row{5, 0, 0, 0}));
}

TEST(Updates, AreAppliedBeforeAnythingReadsThePages) {
  PagedBatch batch;
  const Row begin = {0, 2, 2, 3};
  const std::vector<PageUpdate> entries = {{1, 40}, {1, 41}, {3, 42}};
  Row table(12, kSentinel);
  StepArguments step = batch.arguments();
  step.updates = {begin.data(), entries.data(), 3, batch.page_rows.data()};
  step.tables = TableContract::kLive;
  step.page_table = {table.data(), 3, 4, 4};
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.page_rows, (Row{10, 11, 12, 13, 20, 21, 22, 42, 30, 41, 32, 33}));
  EXPECT_EQ(batch.slots, padded({41 * 8, 11 * 8 + 1, 42 * 8 + 7}, 12));
  const std::int32_t n = kSentinel;
  EXPECT_EQ(table, (Row{30, 41, n, n, 10, 11, n, n, 20, 21, 22, 42}));
}

TEST(Updates, OfInactiveRequestsAreLeftAlone) {
  PagedBatch batch;
  const Row before = batch.page_rows;
  const Row begin = {0, 0, 0, 1};
  const std::vector<PageUpdate> entries = {{3, 42}};
  const std::int32_t active = 2;
  StepArguments step = batch.arguments();
  step.num_active = &active;
  step.updates = {begin.data(), entries.data(), 1, batch.page_rows.data()};
  ASSERT_TRUE(tables_only(8).prepare(step).ok());
  EXPECT_EQ(batch.page_rows, before);
  EXPECT_EQ(batch.cu_q, (Row{0, 1, 2, kSentinel}));
  EXPECT_EQ(batch.slots, padded({248, 89}, 12));
}

}  // namespace
}  // namespace onebeat
