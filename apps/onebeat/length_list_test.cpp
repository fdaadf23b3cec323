// SPDX-License-Identifier: Apache-2.0
#include "length_list.h"

#include <gtest/gtest.h>

namespace onebeat::cli {
namespace {

using Lengths = std::vector<std::int32_t>;

TEST(ParseLengthList, TakesLengthsAndRepetitions) {
  EXPECT_EQ(*parse_length_list("7"), Lengths({7}));
  EXPECT_EQ(*parse_length_list("0"), Lengths({0}));
  EXPECT_EQ(*parse_length_list("5,3x2,1"), Lengths({5, 3, 3, 1}));
  EXPECT_EQ(*parse_length_list(" 5 , 3x2 "), Lengths({5, 3, 3}));
  EXPECT_EQ(*parse_length_list("2147483647"), Lengths({2147483647}));
  const auto lengths = parse_length_list("131072,512x31");
  ASSERT_EQ(lengths->size(), 32U);
  EXPECT_EQ(lengths->front(), 131072);
  EXPECT_EQ(lengths->back(), 512);
}

TEST(ParseLengthList, LeavesNegativeLengthsToThePlanner) {
  EXPECT_EQ(*parse_length_list("-5"), Lengths({-5}));
}

TEST(ParseLengthList, RefusesEverythingElse) {
  for (const char* bad : {"", ",", "1,", ",1", "1,,2", "a", "1a", "1.5", "1x", "x2", "1x0", "1x-1",
                          "1x2x3", "1 2", "+1", "1;2"}) {
    EXPECT_EQ(parse_length_list(bad).status().code(), StatusCode::kInvalidArgument)
        << "'" << bad << "'";
  }
  EXPECT_EQ(*parse_length_list("0x10"), Lengths(10, 0)) << "ten requests of length 0, not sixteen";
}

TEST(ParseLengthList, RefusesTooMuchWithoutMakingIt) {
  EXPECT_EQ(parse_length_list("2147483648").status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(parse_length_list("1x65536")->size(), 65'536U);
  EXPECT_EQ(parse_length_list("1x65537").status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(parse_length_list("1x2147483647").status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(parse_length_list("1x65536,1").status().code(), StatusCode::kOutOfRange);
}

TEST(ParseHeads, TakesTwoNumbersOrOne) {
  EXPECT_EQ(*parse_heads("32/8"), (HeadCounts{32, 8}));
  EXPECT_EQ(*parse_heads("9"), (HeadCounts{9, 9}));
  for (const char* bad : {"", "/", "32/", "/8", "32/8/2", "a/8", "32x8", "32 /8"}) {
    EXPECT_EQ(parse_heads(bad).status().code(), StatusCode::kInvalidArgument) << "'" << bad << "'";
  }
}

}  // namespace
}  // namespace onebeat::cli
