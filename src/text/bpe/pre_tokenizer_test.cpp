// SPDX-License-Identifier: Apache-2.0
#include "text/bpe/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace onebeat {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> pieces(std::string_view rule, std::string_view text) {
  const PreTokenizer tokenizer = PreTokenizer::make(*find_pre_tokenizer_rule(rule).value()).value();
  PieceCursor cursor(tokenizer);
  cursor.start(text);
  std::vector<std::string> all;
  for (std::string_view piece;;) {
    const Status status = cursor.next(piece);
    EXPECT_TRUE(status.ok()) << to_string(status);
    if (!status.ok() || piece.empty()) return all;
    all.emplace_back(piece);
  }
}

TEST(PreTokenizer, SmollmTakesNumeralsOneByOne) {
  EXPECT_THAT(pieces("smollm", "ab12 3"), ElementsAre("ab", "1", "2", " ", "3"));
  EXPECT_THAT(pieces("smollm", "a  1"), ElementsAre("a", "  ", "1"));
  EXPECT_THAT(pieces("smollm", "a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(pieces("smollm", "a½b²"), ElementsAre("a", "½", "b", "²"));
}

TEST(PreTokenizer, RulesDifferInNumeralsAndLines) {
  EXPECT_THAT(pieces("gpt-2", "a 1234\n\nb"), ElementsAre("a", " 1234", "\n", "\n", "b"));
  EXPECT_THAT(pieces("llama-bpe", "a 1234\n\nb"), ElementsAre("a", " ", "123", "4", "\n\n", "b"));
  EXPECT_THAT(pieces("qwen2", "a 1234\n\nb"),
              ElementsAre("a", " ", "1", "2", "3", "4", "\n\n", "b"));
}

TEST(PreTokenizer, CutsContractions) {
  EXPECT_THAT(pieces("smollm", "we'll DON'T"), ElementsAre("we", "'ll", " DON", "'", "T"));
  EXPECT_THAT(pieces("llama-bpe", "we'll DON'T"), ElementsAre("we", "'ll", " DON", "'T"));
}

TEST(PreTokenizer, MongolianVowelSeparatorIsNoSpace) {
  EXPECT_THAT(pieces("gpt-2", "\u180e\u180ex"), ElementsAre("\u180e\u180e", "x"));
  EXPECT_THAT(pieces("gpt-2", "\u3000\u3000x"), ElementsAre("\u3000", "\u3000", "x"));
}

TEST(PreTokenizer, PiecesCoverTheText) {
  for (const char* rule : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    std::string text = std::string("a\0 \t\r\n 12 \xe4\xb8\xad", 13) + std::string(5000, ' ') +
                       "x" + std::string(5000, '\n') + " !";
    std::string joined;
    for (const auto& piece : pieces(rule, text)) joined += piece;
    EXPECT_EQ(joined, text) << rule;
    EXPECT_TRUE(pieces(rule, "").empty());
  }
}

TEST(PreTokenizer, TakesRunsOfMegabytes) {
  for (const char* rule : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    for (const char* unit : {"a", " ", "\n", "=", " \n", "\u4e2d", "\u3000", "'"}) {
      std::string text;
      while (text.size() < 2'000'000) text += unit;
      std::size_t total = 0;
      for (const auto& piece : pieces(rule, text + "x")) total += piece.size();
      EXPECT_EQ(total, text.size() + 1) << rule;
    }
  }
}

}  // namespace
}  // namespace onebeat
