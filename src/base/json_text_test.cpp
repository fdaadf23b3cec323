// SPDX-License-Identifier: Apache-2.0
#include "base/json_text.h"

#include <gtest/gtest.h>

namespace onebeat {
namespace {

TEST(JsonQuoted, EscapesWhatJsonDemands) {
  EXPECT_EQ(json_quoted(""), "\"\"");
  EXPECT_EQ(json_quoted("a/b c"), "\"a/b c\"");
  EXPECT_EQ(json_quoted("say \"hi\" \\ there"), R"("say \"hi\" \\ there")");
  EXPECT_EQ(json_quoted("\n\r\t\x01\x1f\x7f"), R"("\n\r\t\u0001\u001f\u007f")");
  EXPECT_EQ(json_quoted(std::string_view("a\0b", 3)), R"("a\u0000b")");
}

TEST(JsonQuoted, KeepsUtf8) {
  for (const char* text :
       {"\u00e9", "\u20ac", "\U0001F600", "\U0010FFFF", "a\u00e9\u4e2d\U0001F680z"}) {
    EXPECT_EQ(json_quoted(text), '"' + std::string(text) + '"');
  }
}

TEST(JsonQuoted, ReplacesEachByteThatIsNotUtf8) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(json_quoted("a\x80z"), "\"a" + r + "z\"") << "a stray continuation";
  EXPECT_EQ(json_quoted("\xC3"), '"' + r + '"') << "cut short";
  EXPECT_EQ(json_quoted("\xE2\x82"), '"' + r + r + '"') << "cut short";
  EXPECT_EQ(json_quoted("\xC0\xAF"), '"' + r + r + '"') << "an overlong form";
  EXPECT_EQ(json_quoted("\xE0\x80\xAF"), '"' + r + r + r + '"') << "an overlong form";
  EXPECT_EQ(json_quoted("\xED\xA0\x80"), '"' + r + r + r + '"') << "a surrogate";
  EXPECT_EQ(json_quoted("\xF4\x90\x80\x80"), '"' + r + r + r + r + '"') << "beyond U+10FFFF";
  EXPECT_EQ(json_quoted("\xFF\""), '"' + r + "\\\"\"");
}

}  // namespace
}  // namespace onebeat
