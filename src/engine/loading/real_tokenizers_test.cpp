// SPDX-License-Identifier: Apache-2.0
// The tokenizers of real models against ids that Hugging Face's tokenizers made from the same
// vocabularies.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "engine/loading/tokenizer_from_gguf.h"
#include "model/hub/model_cache.h"
#include "text/golden_ids.h"
#include "text/spm/space_mark.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

bool models_are_required() {
  const char* value = std::getenv("ONEBEAT_REQUIRE_MODELS");
  return value != nullptr && std::string_view(value) == "1";
}

std::string lossy(std::string_view text) {
  std::string out;
  append_valid(text, true, out);
  return out;
}

class RealTokenizer : public ::testing::Test {
 protected:
  /// Skips the test, or fails it, without the model.
  void load_model(const std::string& name) {
    const auto path = resolve_model(name);
    if (!path.ok() && !models_are_required()) GTEST_SKIP() << path.status().message();
    ASSERT_TRUE(path.ok()) << path.status().message();
    load(*path);
  }

  void load(const std::filesystem::path& path) {
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.ok()) << to_string(file.status());
    auto made = make_tokenizer(*file);
    ASSERT_TRUE(made.ok()) << to_string(made.status());
    tokenizer_.emplace(std::move(made).value());
  }

  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }

  /// `seen(text)` is what a text is once it has been encoded and decoded.
  template <typename Seen>
  void expect_golden(const std::string& name, Seen&& seen) const {
    const auto golden = testing::golden_ids(name);
    ASSERT_GE(golden.size(), 300U);
    for (const auto& line : golden) {
      const auto ids = tokenizer().encode(line.text, {.parse_special = line.parse_special});
      ASSERT_TRUE(ids.ok()) << to_string(ids.status());
      EXPECT_EQ(*ids, line.ids) << (line.parse_special ? "special: " : "plain: ") << line.written;
      EXPECT_EQ(tokenizer().decode(*ids).value(), seen(lossy(line.text))) << line.written;
    }
  }

  std::optional<Tokenizer> tokenizer_;
};

TEST_F(RealTokenizer, SmolLM2) {
  load_model("smollm2");
  if (!tokenizer_) return;
  EXPECT_EQ(tokenizer().vocabulary_size(), 49152);
  EXPECT_EQ(tokenizer().bos(), 1);
  EXPECT_EQ(tokenizer().eos(), 2);
  // The vocabulary has no token for 21 of the 256 bytes, among them six control characters. Texts
  // lose them.
  std::array<bool, 256> has_token{};
  for (std::int32_t id = 0; id < tokenizer().vocabulary_size(); ++id) {
    const std::string_view bytes = tokenizer().token_bytes(id).value();
    if (bytes.size() == 1) has_token[static_cast<unsigned char>(bytes[0])] = true;
  }
  EXPECT_EQ(std::count(has_token.begin(), has_token.end(), false), 21);
  expect_golden("tokenizer_smollm2.txt", [&](std::string text) {
    std::erase_if(text, [&](char c) { return !has_token[static_cast<unsigned char>(c)]; });
    return lossy(text);
  });
}

TEST_F(RealTokenizer, Gemma3) {
  load_model("gemma3-270m");
  if (!tokenizer_) return;
  EXPECT_EQ(tokenizer().vocabulary_size(), 262144);
  EXPECT_EQ(tokenizer().bos(), 2);
  EXPECT_EQ(tokenizer().eos(), 1);
  EXPECT_TRUE(tokenizer().is_end(106));  // <end_of_turn>
  EXPECT_FALSE(tokenizer().puts_space_first());
  EXPECT_EQ(tokenizer().encode("a", {.begin = EncodeOptions::Begin::kModel}).value(),
            (std::vector<std::int32_t>{2, 236746}));
  expect_golden("tokenizer_gemma3.txt", [](const std::string& text) {
    std::string out;
    append_unmarked(text, out);
    return out;
  });
}

TEST_F(RealTokenizer, Qwen2AsDeepSeekHasIt) {
  const char* path = std::getenv("ONEBEAT_TEST_VOCABULARY");
  if (path == nullptr) {
    GTEST_SKIP() << "ONEBEAT_TEST_VOCABULARY must name what tools/unpack_vocabulary.py makes";
  }
  load(path);
  if (!tokenizer_) return;
  EXPECT_EQ(tokenizer().vocabulary_size(), 152064);
  EXPECT_EQ(tokenizer().bos(), 151646);
  EXPECT_EQ(tokenizer().eos(), 151643);
  expect_golden("tokenizer_deepseek_qwen.txt", [](const std::string& text) { return text; });
}

}  // namespace
}  // namespace onebeat
