// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "text/small_vocabulary.h"
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
