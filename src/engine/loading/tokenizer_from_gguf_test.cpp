// SPDX-License-Identifier: Apache-2.0
#include "engine/loading/tokenizer_from_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/formats/gguf_test_writer.h"

namespace onebeat {
namespace {

using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

/// The keys of a good file, less those named.
GgufWriter file_without(const std::string& absent = "") {
  GgufWriter writer;
  const auto add = [&](const std::string& key, auto value) {
    if (key != absent) writer.add("tokenizer.ggml." + key, value);
  };
  add("model", "gpt2");
  add("pre", "smollm");
  add("tokens", Strings{"a", "b", "ab", "Ġ", "<|im_end|>", "<|eot|>", "<think>", "<|endoftext|>"});
  add("token_type", std::vector<std::int32_t>{1, 1, 1, 1, 3, 3, 4, 1});
  add("merges", Strings{"a b"});
  add("bos_token_id", std::uint32_t{4});
  add("eot_token_id", std::uint32_t{5});
  add("add_bos_token", true);
  return writer;
}

Result<Tokenizer> load(const GgufWriter& writer) {
  const auto bytes = writer.finish();
  const auto file = GgufFile::parse(bytes, "t.gguf");
  return file.ok() ? make_tokenizer(*file) : Result<Tokenizer>(file.status());
}

TEST(TokenizerFromGguf, ReadsEveryPart) {
  const auto tokenizer = load(file_without());
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  using Begin = EncodeOptions::Begin;
  const auto encode = [&](std::string_view text, EncodeOptions options) {
    return tokenizer->encode(text, options).value();
  };
  EXPECT_THAT(encode("ab ba", {}), ElementsAre(2, 3, 1, 0));
  EXPECT_THAT(encode("a", {.begin = Begin::kModel}), ElementsAre(4, 0));
  EXPECT_THAT(encode("a<|im_end|><think>b", {.parse_special = true}), ElementsAre(0, 4, 6, 1));
  EXPECT_EQ(tokenizer->bos(), 4);
  EXPECT_EQ(tokenizer->eos(), std::nullopt);
  EXPECT_TRUE(tokenizer->is_end(4)) << "known by its text";
  EXPECT_TRUE(tokenizer->is_end(5)) << "named by the file";
  EXPECT_FALSE(tokenizer->is_end(7)) << "the text alone does not make a control token";
}

TEST(TokenizerFromGguf, NamesWhatIsMissingOrWrong) {
  const auto refused = [](const GgufWriter& writer, StatusCode code, const std::string& says) {
    const Status status = load(writer).status();
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_THAT(status.message(), HasSubstr("t.gguf: "));
    EXPECT_THAT(status.message(), HasSubstr(says));
  };
  refused(file_without("model"), StatusCode::kNotFound, "\"tokenizer.ggml.model\" is missing");
  refused(file_without("tokens"), StatusCode::kNotFound, "\"tokenizer.ggml.tokens\" is missing");
  refused(file_without("pre"), StatusCode::kUnsupported,
          "the pre-tokenizer 'default' is not known");
  const auto with = [](const std::string& key, auto value) {
    return file_without(key).add("tokenizer.ggml." + key, value);
  };
  refused(with("model", "bert"), StatusCode::kUnsupported, "the tokenizer 'bert' is not known");
  refused(with("tokens", std::vector<std::int32_t>{1}), StatusCode::kInvalidArgument,
          "an array of string is needed");
  refused(with("tokens", Strings{"a"}), StatusCode::kInvalidArgument, "1 tokens but 8 token types");
  refused(with("token_type", std::vector<std::int32_t>{1, 1, 1, 1, 9, 1, 1, 1}),
          StatusCode::kDataLoss, "token_type\" has 9");
  refused(with("merges", Strings{"a c"}), StatusCode::kInvalidArgument, "merge 0");
  refused(with("bos_token_id", std::uint32_t{8}), StatusCode::kOutOfRange,
          "token id 8 is not in the vocabulary");
  refused(with("eot_token_id", std::uint32_t{0xffffffff}), StatusCode::kInvalidArgument,
          "4294967295 does not fit");
}

}  // namespace
}  // namespace onebeat
