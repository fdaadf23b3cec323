// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/few_rows_rules.h"

#include <gtest/gtest.h>

#include <random>

#include "ops/cuda/few_rows_params.h"

namespace onebeat::cuda {
namespace {

TEST(FewRowsRules, InvariantModeHasOneRuleForEveryNumberOfRows) {
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    const auto outputs = static_cast<std::int32_t>(1 + random() % 200000);
    const auto inputs = static_cast<std::int32_t>(8 * (1 + random() % 4000));
    const FewRowsRule one = few_rows_rule(outputs, inputs, 1, 132, true);
    for (std::int32_t rows = 2; rows <= kMostFewRows; ++rows) {
      const FewRowsRule rule = few_rows_rule(outputs, inputs, rows, 132, true);
      EXPECT_EQ(rule.family, one.family);
      EXPECT_EQ(rule.splits, one.splits);
    }
  }
}

TEST(FewRowsRules, SplitsLeaveEveryCtaASharesOfK) {
  for (const std::int32_t multiprocessors : {1, 46, 132}) {
    for (std::int32_t outputs = 1; outputs < 300000; outputs = outputs * 3 + 1) {
      for (std::int32_t inputs = 8; inputs <= 32768; inputs *= 2) {
        for (std::int32_t rows = 1; rows <= kMostFewRows; ++rows) {
          const FewRowsRule rule = few_rows_rule(outputs, inputs, rows, multiprocessors, false);
          EXPECT_GE(rule.splits, 1);
          // Families that split take K in steps of 256 at most.
          EXPECT_TRUE(rule.splits == 1 || rule.splits * 128 <= inputs);
          EXPECT_LE(rule.splits, rule.ctas_per_multiprocessor * multiprocessors);
        }
      }
    }
  }
}

TEST(FewRowsGroups, CoverEveryRowOnceInWholePairs) {
  for (const std::int32_t outputs : {1, 2, 3, 7, 64, 4095, 4096, 6144, 128256}) {
    for (const std::int32_t groups : {1, 2, 33, 264}) {
      std::int32_t next = 0;
      for (std::int32_t group = 0; group < groups; ++group) {
        const RowRange range = group_rows(outputs, group, groups);
        if (range.count <= 0) continue;
        EXPECT_EQ(range.begin, next);
        EXPECT_EQ(range.begin % 2, 0);
        next = range.begin + range.count;
        for (const std::int32_t tile : {16, 32, 64, 128}) {
          EXPECT_LE(range.count, tiles_of_group(outputs, groups, tile) * tile);
        }
      }
      EXPECT_EQ(next, outputs);
    }
  }
}

}  // namespace
}  // namespace onebeat::cuda
