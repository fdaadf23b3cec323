// SPDX-License-Identifier: Apache-2.0
#include "kv/page_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace onebeat {
namespace {

PagePool make_pool(std::int32_t pages, std::int32_t rows, std::int32_t row_pages) {
  return PagePool::create({pages, 16, rows, row_pages}).value();
}

TEST(PagePool, ReservesWholePagesAndAllOrNone) {
  PagePool pool = make_pool(10, 3, 8);
  const std::int32_t row = pool.open_row().value();
  EXPECT_TRUE(pool.reserve(row, 0).ok());
  EXPECT_EQ(pool.pages(row).size(), 0u);
  EXPECT_TRUE(pool.reserve(row, 1).ok());
  EXPECT_TRUE(pool.reserve(row, 16).ok());
  EXPECT_EQ(pool.pages(row).size(), 1u);
  EXPECT_TRUE(pool.reserve(row, 17).ok());
  EXPECT_EQ(pool.pages(row).size(), 2u);
  EXPECT_EQ(pool.reserve(row, 8 * 16 + 1).code(), StatusCode::kOutOfRange);
  ASSERT_TRUE(pool.reserve(row, 8 * 16).ok());
  const std::int32_t other = pool.open_row().value();
  const Status status = pool.reserve(other, 33);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("2 of 10 are free"), std::string::npos) << status.message();
  EXPECT_EQ(pool.pages(other).size(), 0u);
  EXPECT_EQ(pool.free_pages(), 2);
}

TEST(PagePool, RowsRunOut) {
  PagePool pool = make_pool(4, 2, 2);
  const std::int32_t first = pool.open_row().value();
  ASSERT_TRUE(pool.open_row().ok());
  EXPECT_EQ(pool.open_row().status().code(), StatusCode::kResourceExhausted);
  pool.close_row(first);
  EXPECT_EQ(pool.open_row().value(), first);
}

TEST(PagePool, SharedPagesLiveUntilTheLastHolderLeaves) {
  PagePool pool = make_pool(6, 2, 4);
  const std::int32_t first = pool.open_row().value();
  ASSERT_TRUE(pool.reserve(first, 40).ok());
  const std::vector<std::int32_t> prefix(pool.pages(first).begin(), pool.pages(first).begin() + 2);
  const std::int32_t second = pool.open_row().value();
  ASSERT_TRUE(pool.share(second, prefix).ok());
  ASSERT_TRUE(pool.reserve(second, 60).ok());
  EXPECT_EQ(pool.holders(prefix[0]), 2);
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.share(second, prefix).code(), StatusCode::kOutOfRange);
  pool.close_row(first);
  EXPECT_EQ(pool.holders(prefix[0]), 1);
  EXPECT_EQ(pool.pages(second)[0], prefix[0]);
  EXPECT_EQ(pool.free_pages(), 2);
  pool.close_row(second);
  EXPECT_EQ(pool.free_pages(), 6);
}

TEST(PagePool, NoPageIsLostOrGivenTwice) {
  constexpr std::int32_t kPages = 37, kRows = 6, kRowPages = 12;
  std::mt19937 random(1234);
  PagePool pool = make_pool(kPages, kRows, kRowPages);
  const std::int32_t* const map = pool.page_map().data();
  std::vector<std::int32_t> open;
  for (int action = 0; action < 20000; ++action) {
    const auto pick = [&] { return open[random() % open.size()]; };
    switch (random() % 5) {
      case 0:
        if (auto row = pool.open_row(); row.ok()) open.push_back(row.value());
        break;
      case 1:
        if (!open.empty()) {
          const std::size_t index = random() % open.size();
          pool.close_row(open[index]);
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(index));
        }
        break;
      case 2:
        if (!open.empty()) (void)pool.reserve(pick(), random() % (kRowPages * 16 + 10));
        break;
      case 3:
        if (!open.empty()) pool.shrink(pick(), random() % (kRowPages * 16));
        break;
      case 4:
        if (open.size() > 1) {
          const auto from = pool.pages(open[0]);
          (void)pool.share(open[1], std::vector<std::int32_t>(from.begin(), from.end()));
        }
        break;
    }
    std::vector<std::int32_t> holders(kPages, 0);
    for (const std::int32_t row : open) {
      for (const std::int32_t page : pool.pages(row)) ++holders[static_cast<std::size_t>(page)];
      const auto length = static_cast<std::int32_t>(pool.pages(row).size());
      for (std::int32_t c = length; c < kRowPages; ++c) ASSERT_EQ(map[row * kRowPages + c], -1);
    }
    std::int32_t free = 0;
    for (std::int32_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(pool.holders(page), holders[static_cast<std::size_t>(page)]);
      free += pool.holders(page) == 0;
    }
    ASSERT_EQ(pool.free_pages(), free);
  }
  EXPECT_EQ(pool.page_map().data(), map);
}

TEST(PagePool, NamesWhatItRefuses) {
  EXPECT_NE(PagePool::create({4, 12, 1, 1}).status().message().find("page_tokens is 12"),
            std::string::npos);
  EXPECT_NE(PagePool::create({0, 16, 1, 1}).status().message().find("num_pages is 0"),
            std::string::npos);
  EXPECT_NE(PagePool::create({4, 16, 0, 1}).status().message().find("num_rows is 0"),
            std::string::npos);
  EXPECT_NE(PagePool::create({4, 16, 1, 0}).status().message().find("row_pages is 0"),
            std::string::npos);
}

}  // namespace
}  // namespace onebeat
