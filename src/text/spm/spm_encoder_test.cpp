// SPDX-License-Identifier: Apache-2.0
// SentencePiece-style tokenizers against SentencePiece itself, a naive merger, and bad input.
#include "text/spm/spm_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "text/detokenizer.h"
#include "text/spm/space_mark.h"
#include "text/spm/spm_vocabulary.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

using testing::SpmVocabulary;

std::string lossy(std::string_view text) {
  std::string valid, out;
  append_valid(text, true, valid);
  append_unmarked(valid, out);
  return out;
}

class SpmStyle : public ::testing::TestWithParam<const char*> {};

TEST_P(SpmStyle, GivesTheIdsOfSentencePiece) {
  const SpmVocabulary vocabulary(GetParam());
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const auto golden = testing::golden_ids("tokenizer_spm_" + std::string(GetParam()) + ".txt");
  ASSERT_GE(golden.size(), 300U);
  for (const auto& line : golden) {
    const auto ids = tokenizer.encode(line.text, {.parse_special = line.parse_special});
    ASSERT_TRUE(ids.ok()) << to_string(ids.status());
    EXPECT_EQ(*ids, line.ids) << (line.parse_special ? "special: " : "plain: ") << line.written;
    // Where special tokens cut a text, each part has its space.
    if (line.parse_special && vocabulary.space_first) continue;
    EXPECT_EQ(tokenizer.decode(*ids).value(), lossy(line.text)) << line.written;
  }
}

TEST_P(SpmStyle, DetokenizesPieceByPiece) {
  const Tokenizer tokenizer = SpmVocabulary(GetParam()).tokenizer();
  for (const std::string text : {"Hello, world!", " spaced  twice ", "日本 😀 ok", "\nline", ""}) {
    const auto ids = tokenizer.encode(text).value();
    Detokenizer start(tokenizer), goes_on(tokenizer, false, true);
    std::string whole, continued;
    for (const std::int32_t id : ids) {
      ASSERT_TRUE(start.append(id, whole).ok());
      ASSERT_TRUE(goes_on.append(id, continued).ok());
    }
    start.finish(whole);
    goes_on.finish(continued);
    EXPECT_EQ(whole, text);
    const bool space = tokenizer.puts_space_first() && !text.empty();
    EXPECT_EQ(continued, (space ? " " : "") + text);
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, SpmStyle, ::testing::Values("llama", "gemma"),
                         [](const auto& style) { return std::string(style.param); });

TEST(SpmEncoder, JoinsBytesIntoCharacters) {
  const SpmVocabulary vocabulary("llama");
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const std::vector<std::int32_t> smile = {vocabulary.id_of("<0xF0>"), vocabulary.id_of("<0x9F>"),
                                           vocabulary.id_of("<0x98>"), vocabulary.id_of("<0x80>"),
                                           vocabulary.id_of("<0x98>")};
  EXPECT_EQ(tokenizer.decode(smile).value(), "😀\xef\xbf\xbd");
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(detokenizer.append(smile[i], text).ok());
  EXPECT_EQ(text, "");
  ASSERT_TRUE(detokenizer.append(smile[3], text).ok());
  EXPECT_EQ(text, "😀");
}

TEST(SpmEncoder, MakesControlTokensOnlyWhereAllowed) {
  const SpmVocabulary vocabulary("gemma");
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const std::int32_t turn = vocabulary.id_of("<end_of_turn>");
  const auto plain = tokenizer.encode("a<end_of_turn>").value();
  EXPECT_EQ(std::count(plain.begin(), plain.end(), turn), 0);
  EXPECT_EQ(tokenizer.decode(plain, false).value(), "a<end_of_turn>");
  const auto special = tokenizer.encode("a<end_of_turn>", {.parse_special = true}).value();
  EXPECT_EQ(special.back(), turn);
  EXPECT_EQ(tokenizer.decode(special, false).value(), "a");
  EXPECT_EQ(tokenizer.encode("", {.begin = EncodeOptions::Begin::kModel}).value(),
            std::vector<std::int32_t>{vocabulary.id_of("<s>")});
}

/// A vocabulary of all texts of a, b and c up to four characters, with scores of which many are
/// equal, and its own view of what merging means.
struct RandomVocabulary {
  std::vector<std::string> tokens;
  TokenizerSpec spec;

  explicit RandomVocabulary(std::mt19937_64& random) {
    tokens = {"<unk>", "a", "b", "c", "\xe2\x96\x81"};
    for (std::size_t i = 1; tokens.size() < 400 && i < tokens.size(); ++i) {
      for (const char* next : {"a", "b", "c", "\xe2\x96\x81"}) {
        if (random() % 3 != 0) tokens.push_back(tokens[i] + next);
      }
    }
    spec.model = "llama";
    spec.tokens.assign(tokens.begin(), tokens.end());
    spec.types.assign(tokens.size(), TokenType::kNormal);
    spec.types[0] = TokenType::kUnknown;
    spec.unknown = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      spec.scores.push_back(static_cast<float>(random() % 40) - 20.0f);
    }
  }

  [[nodiscard]] std::vector<std::int32_t> naive(std::vector<std::string> symbols) const {
    std::map<std::string, std::size_t> ids;
    for (std::size_t i = 1; i < tokens.size(); ++i) ids.emplace(tokens[i], i);
    while (true) {
      std::size_t best = symbols.size();
      float best_score = -100;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ids.find(symbols[i] + symbols[i + 1]);
        if (found == ids.end() || spec.scores[found->second] <= best_score) continue;
        best = i;
        best_score = spec.scores[found->second];
      }
      if (best == symbols.size()) break;
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<std::int32_t> out;
    for (const std::string& symbol : symbols) {
      const auto found = ids.find(symbol);
      const std::int32_t id = found == ids.end() ? 0 : static_cast<std::int32_t>(found->second);
      if (id != 0 || out.empty() || out.back() != 0) out.push_back(id);
    }
    return out;
  }
};

TEST(SpmEncoder, MergesAsANaiveMergerDoes) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    const RandomVocabulary vocabulary(random);
    const auto tokenizer = Tokenizer::make(vocabulary.spec);
    ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
    for (int round = 0; round < 5; ++round) {
      std::string text;
      std::vector<std::string> symbols;
      for (std::size_t i = 0, count = 1 + random() % 60; i < count; ++i) {
        const char* const choices[] = {"a", "b", "c", " ", "é", "a"};
        const std::string next = choices[random() % 6];
        text += next;
        symbols.push_back(next == " " ? std::string(kSpaceMark) : next);
      }
      ASSERT_EQ(tokenizer->encode(text).value(), vocabulary.naive(symbols))
          << "seed " << seed << " text '" << text << "'";
    }
  }
}

TEST(SpmEncoder, SpellsWhatHasNoToken) {
  std::vector<std::string> tokens = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens.assign(tokens.begin(), tokens.end());
  spec.types = {TokenType::kUnknown, TokenType::kNormal, TokenType::kByte, TokenType::kByte};
  spec.scores = {0, 0, 0, 0};
  using Ids = std::vector<std::int32_t>;
  // Without a token for what has none, that is left out.
  EXPECT_EQ(Tokenizer::make(spec)->encode("éaxyaé").value(), (Ids{2, 3, 1, 1, 2, 3}));
  spec.unknown = 0;
  EXPECT_EQ(Tokenizer::make(spec)->encode("éaxyèaé").value(), (Ids{2, 3, 1, 0, 1, 2, 3}));
}

TEST(SpmEncoder, PutsSpacesWhereTheModelHasThem) {
  const SpmVocabulary vocabulary("llama");
  const auto encode = [&](SpacePrefix prefix, const char* text) {
    TokenizerSpec spec = vocabulary.spec();
    spec.space_prefix = prefix;
    const Tokenizer tokenizer = Tokenizer::make(spec).value();
    std::string shown;
    for (const std::int32_t id : tokenizer.encode(text, {.parse_special = true}).value()) {
      shown += tokenizer.token_bytes(id).value();
    }
    return shown;
  };
  EXPECT_EQ(encode(SpacePrefix::kNone, "a<s>b<s> c"), "a<s>b<s> c");
  EXPECT_EQ(encode(SpacePrefix::kAlways, "a<s>b<s> c"), " a<s> b<s>  c");
  EXPECT_EQ(encode(SpacePrefix::kMissing, "a<s>b<s> c"), " a<s> b<s> c");
  EXPECT_EQ(encode(SpacePrefix::kFirst, "a<s>b<s> c"), " a<s>b<s> c");
  EXPECT_EQ(encode(SpacePrefix::kFirst, "<s>b"), "<s>b");
  EXPECT_EQ(encode(SpacePrefix::kMissing,
                   "\xe2\x96\x81"
                   "a"),
            " a");
  EXPECT_EQ(encode(SpacePrefix::kAlways, ""), "");
}

TEST(SpmEncoder, RefusesPartsThatDoNotFitTogether) {
  const SpmVocabulary vocabulary("llama");
  const auto refused = [&](auto change, const std::string& part) {
    TokenizerSpec spec = vocabulary.spec();
    change(spec);
    const Status status = Tokenizer::make(spec).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << to_string(status);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  refused([](TokenizerSpec& s) { s.scores.pop_back(); }, "1200 tokens but 1199 scores");
  refused([](TokenizerSpec& s) { s.scores.clear(); }, "1200 tokens but 0 scores");
  refused([](TokenizerSpec& s) { s.scores[7] = std::nanf(""); }, "the score of token 7 is NaN");
  refused([](TokenizerSpec& s) { s.unknown = 1200; }, "is 1200; ids are 0 to 1199");
  refused([](TokenizerSpec& s) { s.types[500] = TokenType::kByte; }, "byte token 500 is ");
}

TEST(SpmEncoder, EncodesALongTextWithoutSpaces) {
  // Merging is not quadratic: a quadratic one would take minutes.
  const Tokenizer tokenizer = SpmVocabulary("gemma").tokenizer();
  std::mt19937_64 random(11);
  std::string text;
  for (int i = 0; i < 1'000'000; ++i) text += static_cast<char>('a' + random() % 26);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text).value()).value(), text);
  const std::string same(1'000'000, 'a');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(same).value()).value(), same);
}

TEST(SpmEncoder, OrdersScoresAsNumbers) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const auto& [ab, bc, expected] : {std::tuple{1.0f, 2.0f, 2},
                                         {2.0f, 1.0f, 1},
                                         {-1.0f, -2.0f, 1},
                                         {-kInf, -1e38f, 2},
                                         {0.0f, -0.0f, 1},
                                         {-0.0f, 0.0f, 1},
                                         {1e-45f, 0.0f, 1},
                                         {kInf, 3e38f, 1}}) {
    TokenizerSpec spec;
    spec.model = "llama";
    spec.tokens = {"a", "ab", "bc", "b", "c"};
    spec.scores = {0, ab, bc, 0, 0};
    const auto ids = Tokenizer::make(spec)->encode("abc").value();
    EXPECT_EQ(ids,
              expected == 1 ? (std::vector<std::int32_t>{1, 4}) : (std::vector<std::int32_t>{0, 2}))
        << ab << " " << bc;
  }
}

}  // namespace
}  // namespace onebeat
