// SPDX-License-Identifier: Apache-2.0
// tokenizer.json files of SentencePiece-style models against ids of SentencePiece and of Hugging
// Face's tokenizers, then each part bent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "engine/loading/tokenizer_from_json.h"
#include "text/golden_ids.h"

namespace onebeat {
namespace {

using ::testing::HasSubstr;

std::string file_of(const std::string& style) {
  std::ifstream file(testing::golden_path("tokenizer_spm_" + style + ".json"), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The file with one part of its text replaced.
std::string bent(const std::string& style, const std::string& part, const std::string& by) {
  std::string text = file_of(style);
  const std::size_t place = text.find(part);
  if (place == std::string::npos) throw std::runtime_error("the file has no " + part);
  return text.replace(place, part.size(), by);
}

class SpmJson : public ::testing::TestWithParam<const char*> {};

TEST_P(SpmJson, GivesTheIdsOfSentencePieceAndOfTokenizers) {
  const auto tokenizer = parse_tokenizer_json(file_of(GetParam()), "t.json");
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  const auto golden = testing::golden_ids("tokenizer_spm_" + std::string(GetParam()) + ".txt");
  ASSERT_GE(golden.size(), 300U);
  for (const auto& line : golden) {
    const auto ids = tokenizer->encode(line.text, {.parse_special = line.parse_special});
    ASSERT_TRUE(ids.ok()) << to_string(ids.status());
    EXPECT_EQ(*ids, line.ids) << (line.parse_special ? "special: " : "plain: ") << line.written;
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, SpmJson, ::testing::Values("llama", "gemma"),
                         [](const auto& style) { return std::string(style.param); });

std::string shown(const std::string& file, const std::string& text) {
  const auto tokenizer = parse_tokenizer_json(file, "t.json");
  if (!tokenizer.ok()) return to_string(tokenizer.status());
  std::string out;
  for (const std::int32_t id : tokenizer->encode(text, {.parse_special = true}).value()) {
    out += tokenizer->token_bytes(id).value();
  }
  return out;
}

TEST(SpmJsonSpaces, FollowTheMetaspace) {
  const std::string split =
      R"({"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false})";
  const std::string normalizer =
      "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}";
  const auto with = [&](const std::string& rest) {
    std::string file = bent(
        "gemma", split, "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"" + rest + "}");
    const std::size_t place = file.find(normalizer);
    if (place == std::string::npos) throw std::runtime_error("no normalizer");
    return file.replace(place, normalizer.size(), "null");
  };
  const std::string text = "a<s>b<s> c";
  EXPECT_EQ(shown(with(R"(,"prepend_scheme":"always","split":false)"), text), " a<s> b<s> c");
  EXPECT_EQ(shown(with(R"(,"prepend_scheme":"first","split":false)"), text), " a<s>b<s> c");
  EXPECT_EQ(shown(with(R"(,"prepend_scheme":"never","split":false)"), text), text);
  EXPECT_EQ(shown(with(R"(,"add_prefix_space":false,"split":false)"), text), text);
  EXPECT_THAT(shown(with(R"(,"prepend_scheme":"last","split":false)"), text),
              HasSubstr("the pre-tokenizer: the \"prepend_scheme\" \"last\" is not known"));
  EXPECT_THAT(shown(with(R"(,"prepend_scheme":"always")"), text),
              HasSubstr("\"split\" true is not implemented"));
}

TEST(SpmJsonParts, AreRefusedByName) {
  const auto refused = [](const std::string& part, const std::string& by, const std::string& says,
                          const char* style = "llama") {
    const Status status = parse_tokenizer_json(bent(style, part, by), "t.json").status();
    EXPECT_FALSE(status.ok()) << part;
    EXPECT_THAT(status.message(), HasSubstr(says));
    EXPECT_THAT(status.message(), HasSubstr("t.json: "));
  };
  refused(R"("fuse_unk":true)", R"("fuse_unk":false)", "\"fuse_unk\" is false");
  refused(R"("ignore_merges":false)", R"("ignore_merges":true)", "\"ignore_merges\" with byte");
  refused(R"("unk_token":"<unk>")", R"("unk_token":"<none>")", "there is no token \"<none>\"");
  refused(R"("prepend":")", R"("prepend":"x)", "the normalizer: it prepends \"x");
  refused(R"({"String":" "})", R"({"String":"  "})", "the normalizer: it replaces \"  \" by");
  refused(R"({"String":" "})", R"({"Regex":" "})", "String");
  refused(R"({"type":"Prepend")", R"({"type":"Lowercase")", "the normalizer: \"Lowercase\"");
  refused(R"("normalizer":{)", R"("normalizer":null,"x":{)", "nothing turns spaces into marks");
  refused(R"("type":"Split")", R"("type":"Digits")", "the pre-tokenizer: \"Digits\" in this place",
          "gemma");
  refused("[\"\xe2\x96\x81\",\"t\"]", "[\"\xe2\x96\x81\",\"none\"]", "its right part is not in");
}

}  // namespace
}  // namespace onebeat
