// SPDX-License-Identifier: Apache-2.0
#include "kv/page_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace onebeat {
namespace {

constexpr std::int32_t kPage = 4;
using Tokens = std::vector<std::int32_t>;

PageCache make_cache(std::int32_t pages, std::int32_t rows, std::int32_t row_pages,
                     bool reuse = true) {
  return PageCache::create({pages, kPage, rows, row_pages}, reuse).value();
}

Tokens counting(std::int32_t count, std::int32_t first = 0) {
  Tokens tokens;
  for (std::int32_t i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

/// A row that has computed all of `tokens` and says so.
std::int32_t computed_row(PageCache& cache, const Tokens& tokens, std::uint64_t salt = 0) {
  const std::int32_t row = cache.open_row().value();
  PrefixChain chain{salt, 0};
  std::int32_t at = cache.share_prefix(row, tokens, chain);
  EXPECT_TRUE(cache.reserve(row, static_cast<std::int64_t>(tokens.size())).ok());
  for (; at + kPage <= static_cast<std::int32_t>(tokens.size()); at += kPage) {
    cache.publish(row, at / kPage, std::span(tokens).subspan(static_cast<std::size_t>(at), kPage),
                  chain);
  }
  return row;
}

std::int32_t shared(PageCache& cache, const Tokens& tokens, std::uint64_t salt = 0) {
  const std::int32_t row = cache.open_row().value();
  PrefixChain chain{salt, 0};
  const std::int32_t known = cache.share_prefix(row, tokens, chain);
  cache.close_row(row);
  return known;
}

TEST(PageCache, APrefixIsFoundWhileItsRequestRunsAndAfterIt) {
  PageCache cache = make_cache(10, 4, 8);
  const Tokens tokens = counting(10);
  const std::int32_t row = computed_row(cache, tokens);
  EXPECT_EQ(shared(cache, tokens), 8);
  EXPECT_EQ(cache.unused_pages(), 0);
  cache.close_row(row);
  EXPECT_EQ(cache.unused_pages(), 2);
  EXPECT_EQ(cache.available_pages(), 10);
  EXPECT_EQ(shared(cache, tokens), 8);
  // The last token is always left to compute.
  EXPECT_EQ(shared(cache, counting(8)), 4);
  EXPECT_EQ(shared(cache, counting(9)), 8);
  Tokens other = tokens;
  other[5] = 77;
  EXPECT_EQ(shared(cache, other), 4);
  other[0] = 77;
  EXPECT_EQ(shared(cache, other), 0);
  // The same tokens elsewhere, or under another salt, are another prefix.
  EXPECT_EQ(shared(cache, counting(8, 4)), 0);
  EXPECT_EQ(shared(cache, tokens, 1), 0);
  cache.drop_unused();
  EXPECT_EQ(shared(cache, tokens), 0);
  EXPECT_EQ(cache.pool().free_pages(), 10);
}

TEST(PageCache, NothingIsFoundBeforeItIsPublished) {
  PageCache cache = make_cache(10, 4, 8);
  const std::int32_t row = cache.open_row().value();
  ASSERT_TRUE(cache.reserve(row, 9).ok());
  EXPECT_EQ(shared(cache, counting(9)), 0);
  cache.close_row(row);
  EXPECT_EQ(shared(cache, counting(9)), 0);
  EXPECT_EQ(cache.pool().free_pages(), 10);
}

TEST(PageCache, WithoutReuseNothingIsKept) {
  PageCache cache = make_cache(10, 4, 8, false);
  cache.close_row(computed_row(cache, counting(12)));
  EXPECT_EQ(shared(cache, counting(12)), 0);
  EXPECT_EQ(cache.pool().free_pages(), 10);
}

TEST(PageCache, EvictsTheLongestUnusedAndEndsBeforeBeginnings) {
  PageCache cache = make_cache(6, 4, 6);
  const Tokens first = counting(9), second = counting(9, 100);
  cache.close_row(computed_row(cache, first));
  cache.close_row(computed_row(cache, second));
  EXPECT_EQ(cache.unused_pages(), 4);
  const std::int32_t row = cache.open_row().value();
  ASSERT_TRUE(cache.reserve(row, 3 * kPage).ok());
  EXPECT_EQ(shared(cache, first), 4);
  EXPECT_EQ(shared(cache, second), 8);
  // What cannot be had evicts nothing.
  const std::int32_t greedy = cache.open_row().value();
  EXPECT_EQ(cache.reserve(greedy, 4 * kPage).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(shared(cache, second), 8);
  ASSERT_TRUE(cache.reserve(greedy, 3 * kPage).ok());
  EXPECT_EQ(shared(cache, second), 0);
  cache.close_row(row);
  cache.close_row(greedy);
  EXPECT_EQ(cache.pool().free_pages(), 6);
}

TEST(PageCache, AForkWritesIntoAPageOfItsOwn) {
  PageCache cache = make_cache(5, 4, 4);
  const std::int32_t row = computed_row(cache, counting(6));
  EXPECT_FALSE(cache.is_shared(row, 6));
  const std::int32_t fork = cache.fork_row(row).value();
  EXPECT_TRUE(cache.is_shared(row, 6));
  EXPECT_TRUE(cache.is_shared(fork, 6));
  EXPECT_FALSE(cache.is_shared(fork, 8)) << "there is no such page yet";
  const PageCopy copy = cache.make_own(fork, 6).value();
  EXPECT_EQ(copy.from, cache.pool().pages(row)[1]);
  EXPECT_EQ(copy.to, cache.pool().pages(fork)[1]);
  EXPECT_NE(copy.from, copy.to);
  EXPECT_EQ(cache.pool().pages(fork)[0], cache.pool().pages(row)[0]);
  EXPECT_FALSE(cache.is_shared(row, 6));
  const std::int32_t third = cache.fork_row(row).value();
  ASSERT_TRUE(cache.reserve(fork, 16).ok());
  EXPECT_EQ(cache.make_own(third, 6).status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(cache.is_shared(third, 6));
  for (const std::int32_t open : {row, fork, third}) cache.close_row(open);
  EXPECT_EQ(cache.available_pages(), 5);
}

/// Rows grow, fork, end and begin with what others left, over few tokens and few pages; a model
/// knows what every page holds.
TEST(PageCache, RandomUseNeverMixesUpPages) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    constexpr std::int32_t kPages = 24, kRows = 6, kRowPages = 8;
    std::mt19937 random(seed);
    PageCache cache = make_cache(kPages, kRows, kRowPages);
    std::map<std::int32_t, Tokens> contents;  // of each page, as the bytes would be
    struct Row {
      std::int32_t row;
      Tokens tokens;
      PrefixChain chain;
      std::int32_t published;
    };
    std::vector<Row> rows;
    for (int action = 0; action < 3000; ++action) {
      const auto kind = random() % 10;
      if (kind < 2) {
        const auto opened = cache.open_row();
        if (!opened.ok()) continue;
        Row row = {opened.value(), {}, {random() % 2, 0}, 0};
        Tokens prompt;
        for (auto left = random() % (kPage * kRowPages); left > 0; --left)
          prompt.push_back(static_cast<std::int32_t>(random() % 10 == 0));
        const std::int32_t known = cache.share_prefix(row.row, prompt, row.chain);
        for (std::int32_t t = 0; t < known; ++t) {
          const std::int32_t page =
              cache.pool().pages(row.row)[static_cast<std::size_t>(t / kPage)];
          ASSERT_EQ(contents.at(page).at(static_cast<std::size_t>(t % kPage)),
                    prompt[static_cast<std::size_t>(t)]);
        }
        row.tokens.assign(prompt.begin(), prompt.begin() + known);
        row.published = known / kPage;
        rows.push_back(std::move(row));
      } else if (rows.empty()) {
        continue;
      } else if (kind == 2) {
        const std::size_t at = random() % rows.size();
        cache.close_row(rows[at].row);
        rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(at));
      } else if (kind == 3) {
        Row fork = rows[random() % rows.size()];
        const auto forked = cache.fork_row(fork.row);
        if (!forked.ok()) continue;
        fork.row = forked.value();
        if (random() % 2 == 0) fork.published = 0, fork.chain.serial = 0;
        rows.push_back(std::move(fork));
      } else {
        Row& row = rows[random() % rows.size()];
        const auto position = static_cast<std::int64_t>(row.tokens.size());
        if (position == kPage * kRowPages || !cache.reserve(row.row, position + 1).ok()) continue;
        if (cache.is_shared(row.row, position)) {
          const auto copy = cache.make_own(row.row, position);
          if (!copy.ok()) continue;
          contents[copy->to] = contents[copy->from];
        }
        const std::int32_t page =
            cache.pool().pages(row.row)[static_cast<std::size_t>(position / kPage)];
        row.tokens.push_back(static_cast<std::int32_t>(random() % 10 == 0));
        contents[page].resize(kPage);
        contents[page][static_cast<std::size_t>(position % kPage)] = row.tokens.back();
        for (; (row.published + 1) * kPage <= static_cast<std::int32_t>(row.tokens.size());
             ++row.published) {
          cache.publish(
              row.row, row.published,
              std::span(row.tokens).subspan(static_cast<std::size_t>(row.published * kPage), kPage),
              row.chain);
        }
      }
      for (const Row& row : rows) {
        for (std::size_t t = 0; t < row.tokens.size(); ++t) {
          const std::int32_t page = cache.pool().pages(row.row)[t / kPage];
          ASSERT_EQ(contents.at(page)[t % kPage], row.tokens[t]);
        }
      }
    }
    for (const Row& row : rows) cache.close_row(row.row);
    EXPECT_EQ(cache.available_pages(), kPages);
    EXPECT_GT(cache.unused_pages(), 0);
    cache.drop_unused();
    EXPECT_EQ(cache.pool().free_pages(), kPages);
  }
}

}  // namespace
}  // namespace onebeat
