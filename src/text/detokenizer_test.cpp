// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "text/small_vocabulary.h"
#include "text/stop_strings.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

TEST(Detokenizer, EmitsWholeCharactersOnlyAndAllOfThem) {
  const testing::SmallVocabulary vocabulary;
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::int32_t> ids(random() % 40);
    for (auto& id : ids) {
      // Half of them tokens of one byte, so that characters are broken often.
      const unsigned range =
          random() % 2 == 0 ? 256 : static_cast<unsigned>(tokenizer.vocabulary_size());
      id = static_cast<std::int32_t>(random() % range);
    }
    for (const bool show_special : {false, true}) {
      Detokenizer detokenizer(tokenizer, show_special);
      std::string text;
      for (const std::int32_t id : ids) {
        ASSERT_TRUE(detokenizer.append(id, text).ok());
        ASSERT_EQ(valid_prefix(text), text.size());
      }
      detokenizer.finish(text);
      ASSERT_EQ(text, tokenizer.decode(ids, show_special).value());
    }
  }
}

TEST(Detokenizer, WaitsForTheRestOfACharacter) {
  const testing::SmallVocabulary vocabulary;
  const Tokenizer tokenizer = vocabulary.tokenizer();
  Detokenizer detokenizer(tokenizer);
  std::string text;
  const std::string_view face[] = {"ð", "Ł", "¤", "Ķ"};  // F0 9F A4 94
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(text, "");
    ASSERT_TRUE(detokenizer.append(vocabulary.id_of(face[i]), text).ok());
  }
  EXPECT_EQ(text, "\xf0\x9f\xa4\x94");
  ASSERT_TRUE(detokenizer.append(vocabulary.id_of("ð"), text).ok());
  EXPECT_EQ(text, "\xf0\x9f\xa4\x94");
  detokenizer.finish(text);
  EXPECT_EQ(text, "\xf0\x9f\xa4\x94\xef\xbf\xbd");
}

TEST(Detokenizer, StopStringsAreFoundWhateverTokensSpellThem) {
  const testing::SmallVocabulary vocabulary;
  const Tokenizer tokenizer = vocabulary.tokenizer();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::vector<std::string> stops = {"the end", "\n\nUser:", "\xf0\x9f\x98\x80"};
  const std::string parts[] = {"the ",   "the e",           "end", "nd", "\n", "\nUser", ":",
                               " hello", "\xf0\x9f\x98\x80"};
  const auto shown = [&](const std::vector<std::int32_t>& ids) {
    Detokenizer detokenizer(tokenizer);
    StopStrings watch = StopStrings::make(stops).value();
    std::string text;
    std::optional<std::size_t> found;
    for (const std::int32_t id : ids) {
      std::string piece;
      EXPECT_TRUE(detokenizer.append(id, piece).ok());
      found = watch.append(piece, text);
    }
    watch.finish(text);
    return text + "|" + (found ? stops[*found] : "");
  };
  int stopped = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string text;
    for (auto i = random() % 12; i > 0; --i) text += parts[random() % std::size(parts)];
    // In pieces of any length, down to single characters, each encoded for itself.
    std::vector<std::int32_t> ids;
    for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
      do {
        length = 1 + random() % 8;
      } while (valid_prefix(text.substr(at, length)) != std::min(length, text.size() - at));
      for (const std::int32_t id : tokenizer.encode(text.substr(at, length)).value())
        ids.push_back(id);
    }
    const std::string whole = shown(tokenizer.encode(text).value());
    ASSERT_EQ(shown(ids), whole) << text;
    stopped += whole.ends_with('|') ? 0 : 1;
  }
  EXPECT_GT(stopped, 100);
  EXPECT_LT(stopped, 1000);
}

TEST(Detokenizer, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = testing::SmallVocabulary().tokenizer();
  Detokenizer detokenizer(tokenizer);
  std::string text = "kept";
  EXPECT_EQ(detokenizer.append(-1, text).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(detokenizer.append(tokenizer.vocabulary_size(), text).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(text, "kept");
}

}  // namespace
}  // namespace onebeat
