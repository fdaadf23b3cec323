// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "text/golden_ids.h"
#include "text/small_vocabulary.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

using ::testing::HasSubstr;
using testing::SmallVocabulary;

std::string lossy(std::string_view text) {
  std::string out;
  append_valid(text, true, out);
  return out;
}

class GoldenRules : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenRules, GiveTheIdsOfHuggingFaceTokenizers) {
  const std::string rule = GetParam();
  const SmallVocabulary vocabulary;
  const Tokenizer tokenizer = vocabulary.tokenizer(rule);
  const auto golden = testing::golden_ids("tokenizer_small_" + rule + ".txt");
  ASSERT_GE(golden.size(), 200U);
  for (const auto& line : golden) {
    const auto ids = tokenizer.encode(line.text, {.parse_special = line.parse_special});
    ASSERT_TRUE(ids.ok()) << to_string(ids.status());
    EXPECT_EQ(*ids, line.ids) << (line.parse_special ? "special: " : "plain: ") << line.written;
    if (rule == "qwen2") continue;  // Composes characters: the text need not come back.
    EXPECT_EQ(tokenizer.decode(*ids).value(), lossy(line.text)) << line.written;
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GoldenRules,
                         ::testing::Values("gpt-2", "smollm", "llama-bpe", "qwen2"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Tokenizer, DecodesWhatItEncodesWhateverTheBytes) {
  const Tokenizer tokenizer = SmallVocabulary().tokenizer();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 200, ' ');
    for (char& c : text) c = static_cast<char>(random() % (round % 2 == 0 ? 256 : 128));
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids.ok());
    ASSERT_EQ(tokenizer.decode(*ids).value(), lossy(text));
  }
}

TEST(Tokenizer, MakesControlTokensOnlyWhereTheCallerAllowsThem) {
  const SmallVocabulary vocabulary;
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const std::int32_t end = vocabulary.id_of("<|im_end|>");
  const auto plain = tokenizer.encode("a<|im_end|>b").value();
  EXPECT_THAT(plain, ::testing::Not(::testing::Contains(end)));
  EXPECT_EQ(tokenizer.decode(plain).value(), "a<|im_end|>b");
  const auto special = tokenizer.encode("a<|im_end|>b", {.parse_special = true}).value();
  EXPECT_THAT(special, ::testing::ElementsAre(vocabulary.id_of("a"), end, vocabulary.id_of("b")));
  EXPECT_EQ(tokenizer.decode(special).value(), "a<|im_end|>b");
  EXPECT_EQ(tokenizer.decode(special, false).value(), "ab");
  EXPECT_TRUE(tokenizer.is_control(end));
  EXPECT_TRUE(tokenizer.is_end(end));
  EXPECT_FALSE(tokenizer.is_end(vocabulary.id_of("a")));
}

TEST(Tokenizer, TakesTheLongestOfSpecialTokensThatBeginTogether) {
  const SmallVocabulary vocabulary;
  const auto ids =
      vocabulary.tokenizer().encode("<|im_<|im_start|>", {.parse_special = true}).value();
  EXPECT_THAT(ids,
              ::testing::ElementsAre(vocabulary.id_of("<|im_"), vocabulary.id_of("<|im_start|>")));
}

TEST(Tokenizer, FindsUserDefinedTokensInPlainText) {
  SmallVocabulary vocabulary;
  vocabulary.tokens.emplace_back("<think>");
  vocabulary.types.push_back(TokenType::kUserDefined);
  const auto ids = vocabulary.tokenizer().encode("<think>a").value();
  EXPECT_THAT(ids, ::testing::ElementsAre(vocabulary.id_of("<think>"), vocabulary.id_of("a")));
  EXPECT_EQ(vocabulary.tokenizer().decode(ids, false).value(), "<think>a");
}

TEST(Tokenizer, PutsTheBeginningTokenWhereAsked) {
  const SmallVocabulary vocabulary;
  using Begin = EncodeOptions::Begin;
  TokenizerSpec spec = vocabulary.spec("smollm");
  const std::int32_t bos = *spec.bos;
  const std::int32_t a = vocabulary.id_of("a");
  const auto encode = [](const TokenizerSpec& from, Begin begin) {
    return Tokenizer::make(from).value().encode("a", {.begin = begin});
  };
  EXPECT_THAT(encode(spec, Begin::kNever).value(), ::testing::ElementsAre(a));
  EXPECT_THAT(encode(spec, Begin::kAlways).value(), ::testing::ElementsAre(bos, a));
  EXPECT_THAT(encode(spec, Begin::kModel).value(), ::testing::ElementsAre(a));
  spec.add_bos = true;
  EXPECT_THAT(encode(spec, Begin::kModel).value(), ::testing::ElementsAre(bos, a));
  EXPECT_THAT(encode(spec, Begin::kNever).value(), ::testing::ElementsAre(a));
  spec.bos.reset();
  EXPECT_EQ(encode(spec, Begin::kAlways).status().code(), StatusCode::kUnsupported);
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = SmallVocabulary().tokenizer();
  const std::int32_t size = tokenizer.vocabulary_size();
  for (const std::int32_t id : {-1, size, std::numeric_limits<std::int32_t>::max(),
                                std::numeric_limits<std::int32_t>::min()}) {
    const std::vector<std::int32_t> ids = {0, id};
    const auto decoded = tokenizer.decode(ids);
    EXPECT_EQ(decoded.status().code(), StatusCode::kOutOfRange);
    EXPECT_THAT(decoded.status().message(), HasSubstr(std::to_string(id)));
    EXPECT_THAT(decoded.status().message(), HasSubstr("0 to " + std::to_string(size - 1)));
  }
}

TEST(Tokenizer, LeavesOutBytesThatHaveNoToken) {
  // Three tokens: x, y and xy. The byte between is not one of them, and its neighbours merge.
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre_tokenizer = "gpt-2";
  spec.tokens = {"x", "y", "xy"};
  spec.merges = {"x y"};
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  EXPECT_THAT(tokenizer.encode("xzy").value(), ::testing::ElementsAre(2));
  EXPECT_THAT(tokenizer.encode("zzz").value(), ::testing::IsEmpty());
  EXPECT_THAT(tokenizer.encode("yx").value(), ::testing::ElementsAre(1, 0));
}

TEST(Tokenizer, DecodesTokensThatTheAlphabetCannotSpellAsTheyAre) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre_tokenizer = "gpt-2";
  spec.tokens = {"Ġ", "中", "a b", "", std::string_view("\xff\x00", 2), "é"};
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  const auto bytes = [&](std::int32_t id) {
    return std::string(tokenizer.token_bytes(id).value());
  };
  EXPECT_EQ(bytes(0), " ");
  EXPECT_EQ(bytes(1), "中");
  EXPECT_EQ(bytes(2), "a b");
  EXPECT_EQ(bytes(3), "");
  EXPECT_EQ(bytes(4), std::string("\xff\x00", 2));
  EXPECT_EQ(bytes(5), "\xe9");  // é spells this byte
}

TEST(Tokenizer, RefusesSpecsThatDoNotFitTogether) {
  const SmallVocabulary vocabulary;
  const auto refused = [&](auto&& change, StatusCode code, const std::string& says) {
    TokenizerSpec spec = vocabulary.spec("smollm");
    change(spec);
    const auto made = Tokenizer::make(spec);
    EXPECT_EQ(made.status().code(), code) << to_string(made.status());
    EXPECT_THAT(made.status().message(), HasSubstr(says));
  };
  using Spec = TokenizerSpec;
  const auto invalid = StatusCode::kInvalidArgument;
  refused([](Spec& s) { s.model = "rwkv"; }, StatusCode::kUnsupported,
          "'rwkv' is not known; known are gpt2");
  refused(
      [](Spec& s) { s.pre_tokenizer = "chatglm-bpe"; }, StatusCode::kUnsupported,
      "'chatglm-bpe' is not known; known are gpt-2, smollm, llama-bpe, qwen2, deepseek-r1-qwen");
  refused([](Spec& s) { s.tokens.clear(); }, invalid, "no tokens");
  refused([](Spec& s) { s.types.pop_back(); }, invalid, "1502 tokens but 1501 token types");
  refused([](Spec& s) { s.merges.push_back("nospace"); }, invalid, "is not two texts");
  refused([](Spec& s) { s.merges.push_back("a "); }, invalid, "is not two texts");
  refused([](Spec& s) { s.merges.push_back(""); }, invalid, "is not two texts");
  refused([](Spec& s) { s.merges.push_back("中 a"); }, invalid,
          "its left part is not in the vocabulary");
  refused([](Spec& s) { s.merges.push_back("a 中"); }, invalid,
          "its right part is not in the vocabulary");
  refused([](Spec& s) { s.merges.push_back("Q Z"); }, invalid,
          "its result is not in the vocabulary");
  refused([](Spec& s) { s.bos = 1'000'000; }, StatusCode::kOutOfRange, "token id 1000000");
  refused([](Spec& s) { s.end_tokens = {-5}; }, StatusCode::kOutOfRange, "token id -5");
  const std::string longest(257, 'x');
  refused(
      [&](Spec& s) {
        s.tokens.push_back(longest);
        s.types.push_back(TokenType::kControl);
      },
      invalid, "has 257 bytes; the limit is 256");
  refused(
      [](Spec& s) {
        s.tokens.push_back("\xbd");  // Would be found inside of U+FFFD.
        s.types.push_back(TokenType::kControl);
      },
      invalid, "is not valid UTF-8");
}

}  // namespace
}  // namespace onebeat
