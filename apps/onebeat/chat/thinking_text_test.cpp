// SPDX-License-Identifier: Apache-2.0
#include "chat/thinking_text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace onebeat::cli {
namespace {

/// Thoughts in brackets.
std::string shown(const std::vector<std::string>& pieces, bool begins_inside = false) {
  ThinkingText text(begins_inside);
  std::string out;
  bool thought = false;
  const auto add = [&](const std::vector<ThinkingText::Part>& parts) {
    for (const ThinkingText::Part& part : parts) {
      if (part.thought != thought) out += part.thought ? "[" : "]";
      thought = part.thought;
      out += part.text;
    }
  };
  for (const std::string& piece : pieces) add(text.append(piece));
  add(text.finish());
  return out;
}

TEST(ThinkingText, TellsThoughtsFromTheAnswer) {
  EXPECT_EQ(shown({"<think>hm</think>\n\nyes"}), "[hm]yes");
  EXPECT_EQ(shown({"\n<think>\nhm\n</think>yes"}), "[\nhm\n]yes");
  EXPECT_EQ(shown({"hm</think>yes"}, true), "[hm]yes");
  EXPECT_EQ(shown({"hm"}, true), "[hm");
  EXPECT_EQ(shown({"yes <think>no</think>"}), "yes <think>no</think>");
  EXPECT_EQ(shown({" yes"}), " yes");
  EXPECT_EQ(shown({"<think></think>yes</think>"}), "yes</think>");
  EXPECT_EQ(shown({"<thi"}), "<thi");
  EXPECT_EQ(shown({"hm</thi"}, true), "[hm</thi");
  EXPECT_EQ(shown({"a<</think>b"}, true), "[a<]b");
}

TEST(ThinkingText, ShowsAtOnceWhatNoTagCanBeginWith) {
  ThinkingText text(true);
  EXPECT_EQ(text.append("hm <").at(0).text, "hm ");
  EXPECT_EQ(text.append("/thing").at(0).text, "</thing");
  ThinkingText answer(false);
  EXPECT_EQ(answer.append("y").at(0).text, "y");
}

TEST(ThinkingText, DoesNotDependOnPieces) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string parts[] = {"<think>", "</think>", "<", "</", "think>", "\n", " ", "word", "é"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (unsigned i = random() % 8; i > 0; --i) text += parts[random() % std::size(parts)];
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size(); at += pieces.back().size())
      pieces.push_back(text.substr(at, 1 + random() % 5));
    const bool inside = random() % 2 == 0;
    ASSERT_EQ(shown(pieces, inside), shown({text}, inside)) << text;
  }
}

}  // namespace
}  // namespace onebeat::cli
