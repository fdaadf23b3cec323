// SPDX-License-Identifier: Apache-2.0
// tokenizer.json files of tiny models against ids that Hugging Face's tokenizers gave for the same
// files, then each part bent.
#include "engine/loading/tokenizer_from_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "engine/loading/tokenizer_from_gguf.h"
#include "text/golden_ids.h"

namespace onebeat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Begin = EncodeOptions::Begin;

class TinyTokenizers : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("ONEBEAT_TEST_MODELS");
    if (folder == nullptr) GTEST_SKIP() << "ONEBEAT_TEST_MODELS names no folder; CTest sets it";
    folder_ = folder;
  }
  std::filesystem::path folder_;
};

TEST_P(TinyTokenizers, GiveTheIdsOfHuggingFaceTokenizers) {
  const auto tokenizer = make_tokenizer(folder_ / GetParam());
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  const auto golden = testing::golden_ids("tokenizer_json_" + GetParam() + ".txt");
  ASSERT_GE(golden.size(), 60U);
  for (const auto& line : golden) {
    const auto ids = tokenizer->encode(line.text, {.parse_special = line.parse_special});
    ASSERT_TRUE(ids.ok()) << to_string(ids.status());
    EXPECT_EQ(*ids, line.ids) << line.written;
  }
}

TEST_P(TinyTokenizers, AgreeWithTheGgufFileOfTheSameModel) {
  const auto ours = make_tokenizer(folder_ / GetParam());
  ASSERT_TRUE(ours.ok()) << to_string(ours.status());
  const auto file = GgufFile::open(folder_ / (GetParam() + ".gguf"));
  ASSERT_TRUE(file.ok()) << to_string(file.status());
  const auto theirs = make_tokenizer(*file);
  ASSERT_TRUE(theirs.ok()) << to_string(theirs.status());
  EXPECT_EQ(ours->bos(), theirs->bos());
  EXPECT_EQ(ours->eos(), theirs->eos());
  // The GGUF file also names the rows of the embedding table that have no token.
  ASSERT_LE(ours->vocabulary_size(), theirs->vocabulary_size());
  for (std::int32_t id = 0; id < ours->vocabulary_size(); ++id) {
    EXPECT_EQ(*ours->token_bytes(id), *theirs->token_bytes(id)) << id;
    EXPECT_EQ(ours->is_control(id), theirs->is_control(id)) << id;
  }
  for (const bool special : {false, true}) {
    const EncodeOptions options = {.parse_special = special, .begin = Begin::kModel};
    const std::string text = "<s><|im_start|>The light isn't on, 12345 times<|im_end|></s>";
    EXPECT_EQ(*ours->encode(text, options), *theirs->encode(text, options));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TinyTokenizers, ::testing::Values("llama", "mistral", "qwen2"),
                         [](const auto& family) { return family.param; });

using Members = std::map<std::string, std::string>;

/// An object of these members; an empty value leaves one out.
std::string object(const Members& members) {
  std::string text = "{";
  for (const auto& [name, value] : members) {
    if (value.empty()) continue;
    if (text.size() > 1) text += ", ";
    text += '"';
    text += name;
    text += "\": ";
    text += value;
  }
  return text + "}";
}

Members good_model() {
  return {{"type", "\"BPE\""},
          {"vocab", R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3})"},
          {"merges", R"(["a b"])"}};
}

Members good_root() {
  return {{"added_tokens", R"([{"id": 6, "content": "<|im_end|>", "special": true},
                               {"id": 7, "content": "<think>", "special": false}])"},
          {"pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})"},
          {"model", object(good_model())}};
}

Members with(Members members, const std::string& name, const std::string& value) {
  members[name] = value;
  return members;
}

Result<Tokenizer> parse(const Members& root, const TokenizerHints& hints = {}) {
  return parse_tokenizer_json(object(root), "t.json", hints);
}

void expect_refused(const Members& root, StatusCode code, const std::string& says,
                    const TokenizerHints& hints = {}) {
  const Status status = parse(root, hints).status();
  EXPECT_EQ(status.code(), code) << to_string(status);
  EXPECT_THAT(status.message(), AllOf(StartsWith("t.json: "), HasSubstr(says)));
}

TEST(TokenizerFromJson, ReadsEveryPart) {
  TokenizerHints hints;
  hints.bos = "<think>";
  hints.eos = "ab";
  hints.end_tokens = {1};
  hints.add_bos = true;
  const auto tokenizer = parse(good_root(), hints);
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  EXPECT_EQ(tokenizer->vocabulary_size(), 8);  // 4 and 5 are nobody's.
  EXPECT_THAT(*tokenizer->encode("ab ba"), ElementsAre(2, 3, 1, 0));
  EXPECT_THAT(*tokenizer->encode("a", {.begin = Begin::kModel}), ElementsAre(7, 0));
  EXPECT_THAT(*tokenizer->encode("a<|im_end|><think>b", {.parse_special = true}),
              ElementsAre(0, 6, 7, 1));
  EXPECT_EQ(tokenizer->bos(), 7);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_TRUE(tokenizer->is_end(1) && tokenizer->is_end(2) && tokenizer->is_end(6));
  EXPECT_FALSE(tokenizer->is_end(7));
}

TEST(TokenizerFromJson, TakesMergesAsPairs) {
  const auto tokenizer =
      parse(with(good_root(), "model", object(with(good_model(), "merges", R"([["a", "b"]])"))));
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  EXPECT_THAT(*tokenizer->encode("ab"), ElementsAre(2));
}

TEST(TokenizerFromJson, TakesTheBeginningFromTheTemplate) {
  const std::string post = R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_end|>"}},
                                                {"Sequence": {"id": "A"}}]}]})";
  const auto tokenizer = parse(with(good_root(), "post_processor", post));
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  EXPECT_EQ(tokenizer->bos(), 6);
  EXPECT_THAT(*tokenizer->encode("a", {.begin = Begin::kModel}), ElementsAre(6, 0));
  const auto appends = R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}},
                           {"SpecialToken": {"id": "<|im_end|>"}}]})";
  expect_refused(with(good_root(), "post_processor", appends), StatusCode::kUnsupported,
                 "the post-processor: the template adds more than one token");
  expect_refused(with(good_root(), "post_processor", R"({"type": "BertProcessing"})"),
                 StatusCode::kUnsupported, "\"BertProcessing\" is not implemented");
  const auto unknown = R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<none>"}}, {"Sequence": {"id": "A"}}]})";
  expect_refused(with(good_root(), "post_processor", unknown), StatusCode::kInvalidArgument,
                 "there is no token \"<none>\"");
}

TEST(TokenizerFromJson, NamesWhatIsNotImplemented) {
  const auto model = [](const std::string& name, const std::string& value,
                        const std::string& says) {
    expect_refused(with(good_root(), "model", object(with(good_model(), name, value))),
                   StatusCode::kUnsupported, says);
  };
  model("type", "\"Unigram\"", "the tokenizer \"Unigram\" is not implemented");
  model("byte_fallback", "true",
        "the pre-tokenizer: \"ByteLevel\" in this place is not implemented for BPE with byte "
        "fallback");
  model("dropout", "0.1", "\"dropout\" is 0.1");
  model("end_of_word_suffix", "\"</w>\"", "\"end_of_word_suffix\" is \"</w>\"");
  model("ignore_merges", "true", "gpt-2 with no normalizer and \"ignore_merges\" true");
  const auto root = [](const std::string& name, const std::string& value, const std::string& says) {
    expect_refused(with(good_root(), name, value), StatusCode::kUnsupported, says);
  };
  root("pre_tokenizer", "", "the pre-tokenizer: there is none");
  root("pre_tokenizer", R"({"type": "Metaspace"})", "\"Metaspace\" is not known");
  root("pre_tokenizer", R"({"type": "ByteLevel"})", "\"add_prefix_space\" is true");
  root("pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})",
       "\"ByteLevel\" with these settings");
  root("pre_tokenizer",
       R"({"type": "Sequence", "pretokenizers": [
           {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"},
           {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
       "the Split by \"x+\"");
  root("normalizer", R"({"type": "NFKC"})", "the normalizer: \"NFKC\" is not implemented");
  root("normalizer", R"({"type": "NFC"})", "gpt-2 with an NFC normalizer");
  root("added_tokens", R"([{"id": 4, "content": "<m>", "lstrip": true}])",
       "added token 0: \"lstrip\" of \"<m>\"");
}

TEST(TokenizerFromJson, RefusesWhatDoesNotFitTogether) {
  const auto model = [](const std::string& name, const std::string& value, StatusCode code,
                        const std::string& says) {
    expect_refused(with(good_root(), "model", object(with(good_model(), name, value))), code, says);
  };
  const auto damaged = StatusCode::kDataLoss;
  const auto invalid = StatusCode::kInvalidArgument;
  model("vocab", "[1]", damaged, "\"vocab\" of the model must be an object");
  model("vocab", R"({"a": -1})", invalid, "token \"a\": the id -1 is below 0");
  model("vocab", R"({"a": 1.5})", invalid, "a 32-bit integer is needed");
  model("vocab", R"({"a": 2147483647})", damaged, "the largest id is 2147483647, but there are");
  model("vocab", R"({"a": 0, "b": 0})", damaged, "\"a\" and \"b\" both have id 0");
  model("vocab", R"({"a": 6})", damaged, "both have id 6");
  model("vocab", R"({"a": 0, "a": 1})", damaged, "\"a\" appears twice");
  model("merges", "{}", damaged, "\"merges\" of the model must be an array");
  model("merges", "[3]", damaged, "merge 0 is neither");
  model("merges", R"([["a"]])", damaged, "merge 0 is neither");
  model("merges", R"(["a b", ["a", "b"]])", damaged, "both texts and pairs");
  model("merges", R"(["a c"])", invalid, "merge 0");
  model("merges", R"(["ab"])", invalid, "merge 0");
  expect_refused(with(good_root(), "model", "3"), damaged, "\"model\" must be an object");
  expect_refused(with(good_root(), "added_tokens", "{}"), damaged, "it must be an array");
  expect_refused(with(good_root(), "added_tokens", "[3]"), damaged, "added token 0: it has no");
  expect_refused(with(good_root(), "added_tokens", R"([{"id": 5}])"), StatusCode::kNotFound,
                 "\"content\" is missing");
  expect_refused(with(good_root(), "added_tokens", R"([{"id": 5, "content": ""}])"), damaged,
                 "\"content\" is empty");
  TokenizerHints hints;
  hints.eos = "nobody";
  expect_refused(good_root(), invalid, "there is no token \"nobody\"", hints);
  hints = {};
  hints.end_tokens = {8};
  expect_refused(good_root(), StatusCode::kOutOfRange, "token id 8", hints);
  EXPECT_EQ(parse_tokenizer_json("[]", "t.json").status().code(), damaged);
  EXPECT_EQ(parse_tokenizer_json("", "t.json").status().code(), damaged);
  EXPECT_EQ(parse_tokenizer_json("{\"a\":" + std::string(50'000, '['), "t.json").status().code(),
            StatusCode::kOutOfRange);
  EXPECT_EQ(make_tokenizer(std::filesystem::path("/nonexistent")).status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace onebeat
