// SPDX-License-Identifier: Apache-2.0
// The expand pass of speculative decoding. The first three cases are the published ones; the fourth
// compares random drafts with the definition: pages of the row's slots, consecutive repeats
// dropped.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "onebeat/step.h"

namespace onebeat {
namespace {

constexpr std::int32_t kSentinel = -77;

struct Draft {
  std::int32_t top_k = 2;
  std::int32_t page_tokens = 4;
  std::int32_t decode_length = 1;
  std::vector<std::int64_t> last_page_lens = {};
  std::vector<std::vector<std::int32_t>> slots = {};
  std::int64_t columns = 0;

  std::vector<std::int32_t> flat = {};
  std::vector<std::int32_t> lens = {};
  std::vector<std::int32_t> table = {};

  DraftExpandArguments arguments(std::int32_t fill = 0) {
    flat.clear();
    for (const auto& row : slots) flat.insert(flat.end(), row.begin(), row.end());
    const std::int64_t rows = static_cast<std::int64_t>(last_page_lens.size()) * top_k;
    lens.assign(static_cast<std::size_t>(rows), kSentinel);
    table.assign(static_cast<std::size_t>(rows * columns), fill);
    DraftExpandArguments draft;
    draft.num_requests = static_cast<std::int32_t>(last_page_lens.size());
    draft.top_k = top_k;
    draft.decode_length = decode_length;
    draft.page_tokens = page_tokens;
    draft.last_page_lens = std::span<const std::int64_t>(last_page_lens);
    const auto tokens = static_cast<std::int64_t>(slots.front().size());
    draft.slots = {flat.data(), static_cast<std::int64_t>(slots.size()), tokens, tokens};
    draft.out_lens = std::span<std::int32_t>(lens);
    draft.page_table = {table.data(), rows, columns, columns};
    return draft;
  }
};

using Row = std::vector<std::int32_t>;

TEST(DraftExpand, OnePageEach) {
  Draft draft{
      .decode_length = 1, .last_page_lens = {3}, .slots = {{23, 24}, {31, 32}}, .columns = 2};
  ASSERT_TRUE(prepare_draft_expand(draft.arguments()).ok());
  EXPECT_EQ(draft.lens, (Row{4, 4}));
  EXPECT_EQ(draft.table, (Row{5, 6, 7, 8}));
}

TEST(DraftExpand, SpanOfSeveralPages) {
  Draft draft{.decode_length = 5,
              .last_page_lens = {3},
              .slots = {{27, 28, 29, 30, 31, 32}, {35, 36, 37, 38, 39, 40}},
              .columns = 6};
  ASSERT_TRUE(prepare_draft_expand(draft.arguments()).ok());
  EXPECT_EQ(draft.lens, (Row{8, 8}));
  EXPECT_EQ(draft.table, (Row{6, 7, 8, 0, 0, 0, 8, 9, 10, 0, 0, 0}));
}

TEST(DraftExpand, ThreeRequestsWithDifferentLastPages) {
  Draft draft{
      .decode_length = 3,
      .last_page_lens = {1, 3, 0},
      .slots =
          {{1, 2, 3, 4}, {6, 7, 8, 9}, {3, 8, 9, 10}, {14, 15, 16, 17}, {0, 1, 2, 3}, {4, 5, 6, 7}},
      .columns = 4};
  ASSERT_TRUE(prepare_draft_expand(draft.arguments()).ok());
  EXPECT_EQ(draft.lens, (Row{4, 4, 6, 6, 3, 3}));
  EXPECT_EQ(draft.table, (Row{0, 1, 0, 0, 1, 2, 0, 0, 0, 2, 0, 0,  //
                              3, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(DraftExpand, RandomDraftsKeepAllOtherColumns) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const auto draw = [&](std::int32_t low, std::int32_t high) {
      return std::uniform_int_distribution<std::int32_t>(low, high)(random);
    };
    Draft draft;
    draft.top_k = draw(1, 5);
    draft.page_tokens = 1 << draw(0, 6);
    draft.decode_length = draw(0, 9);
    const std::int32_t requests = draw(1, 9);
    const std::int32_t tokens = draw(1, 12);
    draft.columns = tokens + draw(0, 3);
    for (std::int32_t b = 0; b < requests; ++b) {
      draft.last_page_lens.push_back(draw(0, draft.page_tokens - 1));
    }
    for (std::int32_t row = 0; row < requests * draft.top_k; ++row) {
      Row slots;
      std::int32_t slot = draw(0, 1000);
      for (std::int32_t t = 0; t < tokens; ++t) {
        slots.push_back(slot);
        slot = draw(0, 4) == 0 ? draw(0, 1000) : slot + 1;
      }
      draft.slots.push_back(slots);
    }
    ASSERT_TRUE(prepare_draft_expand(draft.arguments(kSentinel)).ok());
    for (std::size_t row = 0; row < draft.slots.size(); ++row) {
      Row pages;
      for (const std::int32_t slot : draft.slots[row]) pages.push_back(slot / draft.page_tokens);
      pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
      pages.resize(static_cast<std::size_t>(draft.columns), kSentinel);
      const auto begin = draft.table.begin() + static_cast<std::ptrdiff_t>(row) * draft.columns;
      EXPECT_EQ(Row(begin, begin + draft.columns), pages) << "row " << row;
      const std::size_t request = row / static_cast<std::size_t>(draft.top_k);
      EXPECT_EQ(draft.lens[row], draft.decode_length + draft.last_page_lens[request]);
    }
  }
}

TEST(DraftExpand, WideAndStridedSlots) {
  const std::vector<std::int64_t> slots = {23, -1, 24, -1, 31, -1, 32, -1};
  const std::vector<std::int64_t> last = {3};
  Row lens(4, kSentinel);
  Row table(8, kSentinel);
  DraftExpandArguments draft;
  draft.num_requests = 1;
  draft.top_k = 2;
  draft.decode_length = 1;
  draft.page_tokens = 4;
  draft.last_page_lens = std::span<const std::int64_t>(last);
  draft.slots = {slots.data(), 2, 2, 4, 2, IndexType::kI64};
  draft.out_lens = {lens.data(), 2, 2};
  draft.page_table = {table.data(), 2, 2, 4, 2};
  ASSERT_TRUE(prepare_draft_expand(draft).ok());
  EXPECT_EQ(lens, (Row{4, kSentinel, 4, kSentinel}));
  EXPECT_EQ(table, (Row{5, kSentinel, 6, kSentinel, 7, kSentinel, 8, kSentinel}));
}

TEST(DraftExpand, RefusesAndWritesNothing) {
  const auto refused = [](Draft draft, StatusCode code, const char* words) {
    const Status status = prepare_draft_expand(draft.arguments(kSentinel));
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    EXPECT_TRUE(std::all_of(draft.table.begin(), draft.table.end(),
                            [](std::int32_t page) { return page == kSentinel; }));
    EXPECT_TRUE(std::all_of(draft.lens.begin(), draft.lens.end(),
                            [](std::int32_t len) { return len == kSentinel; }));
  };
  const Draft good{.last_page_lens = {3}, .slots = {{23, 24}, {31, 32}}, .columns = 2};
  Draft bad = good;
  bad.page_tokens = 3;
  refused(bad, StatusCode::kInvalidArgument, "a page of 3 tokens");
  bad = good;
  bad.columns = 1;
  refused(bad, StatusCode::kOutOfRange, "touches 2 pages; page_table has 1");
  bad = good;
  bad.slots[1][1] = -4;
  refused(bad, StatusCode::kOutOfRange, "row 1");
  bad = good;
  bad.last_page_lens[0] = -1;
  refused(bad, StatusCode::kOutOfRange, "last_page_lens[0] is -1");
  bad = good;
  bad.top_k = 1;
  refused(bad, StatusCode::kOutOfRange, "2 x 2 for 1 rows");
}

}  // namespace
}  // namespace onebeat
