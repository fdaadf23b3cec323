// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"

#include <gtest/gtest.h>

namespace onebeat::cli {
namespace {

TEST(WithoutControls, KeepsTextAndLeavesOutCommands) {
  EXPECT_EQ(without_controls("a\n\tb é 日 \xc2\xa0 😀"), "a\n\tb é 日 \xc2\xa0 😀");
  EXPECT_EQ(without_controls("\x1b[31mred\x1b]0;title\x07\x7f\r"), "[31mred]0;title");
  EXPECT_EQ(without_controls("a\xc2\x9b\x33\x31mb\xc2\x80\xc2\x9f"), "a31mb");  // U+009B: as ESC [
  EXPECT_EQ(without_controls(std::string_view("\0x", 2)), "x");
  EXPECT_EQ(without_controls("\xc2"), "\xc2");
}

}  // namespace
}  // namespace onebeat::cli
