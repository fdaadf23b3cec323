// SPDX-License-Identifier: Apache-2.0
#include "ops/token_counts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace onebeat {
namespace {

std::map<std::int32_t, std::int32_t> as_map(const TokenCounts& counts) {
  std::map<std::int32_t, std::int32_t> all;
  for (const TokenCounts::Entry& entry : counts.entries()) {
    EXPECT_TRUE(all.emplace(entry.token, entry.generated).second) << "twice " << entry.token;
  }
  return all;
}

TEST(TokenCounts, CountsTheReplyAndKnowsThePrompt) {
  TokenCounts counts;
  counts.add_prompt(std::vector<std::int32_t>{7, 3, 7, 0});
  counts.add_generated(3);
  counts.add_generated(9);
  counts.add_generated(9);
  EXPECT_EQ(as_map(counts), (std::map<std::int32_t, std::int32_t>{{7, 0}, {3, 1}, {0, 0}, {9, 2}}));
  EXPECT_EQ(counts.entries()[0].token, 7);
  counts.reset(2);
  EXPECT_TRUE(counts.entries().empty());
}

TEST(TokenCounts, EqualsAMapForRandomTokensBeyondTheRoomAskedFor) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    TokenCounts counts;
    counts.reset(random() % 50);
    std::map<std::int32_t, std::int32_t> expected;
    const std::uint64_t span = 1 + random() % 5000, stride = 1 + random() % 70000;
    for (int i = 0; i < 2000; ++i) {
      const auto token = static_cast<std::int32_t>(random() % span * stride % 2147483647);
      if (i < 500) {
        counts.add_prompt({&token, 1});
        expected.emplace(token, 0);
      } else {
        counts.add_generated(token);
        ++expected[token];
      }
    }
    ASSERT_EQ(as_map(counts), expected) << "seed " << seed;
  }
}

}  // namespace
}  // namespace onebeat
