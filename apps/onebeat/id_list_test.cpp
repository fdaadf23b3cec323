// SPDX-License-Identifier: Apache-2.0
#include "id_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onebeat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(IdList, ReadsWhatItWrites) {
  EXPECT_EQ(as_json(std::vector<std::int32_t>{}), "[]");
  EXPECT_EQ(as_json(std::vector<std::int32_t>{1, 20, -3}), "[1, 20, -3]");
  EXPECT_THAT(parse_id_list("[1, 20, -3]").value(), ElementsAre(1, 20, -3));
  EXPECT_THAT(parse_id_list(" [ 1,2 ,3\n]\r\n").value(), ElementsAre(1, 2, 3));
  EXPECT_THAT(parse_id_list("[]").value(), IsEmpty());
  EXPECT_THAT(parse_id_list("[ ]").value(), IsEmpty());
}

TEST(IdList, RefusesOtherText) {
  for (const char* text :
       {"", " ", "1", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]2", "[1.5]", "[a]",
        "[1]]", "{\"a\":1}", "[\"1\"]", "[1;2]", "[[1]]", "[+1]"}) {
    EXPECT_EQ(parse_id_list(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(parse_id_list("[1, x]").status().message(),
            "a number is needed at byte 4 of the list of token ids, which looks like [1, 2, 3]");
  EXPECT_EQ(parse_id_list("[2147483648]").status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(parse_id_list("[-99999999999999999999]").status().code(), StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace onebeat::cli
