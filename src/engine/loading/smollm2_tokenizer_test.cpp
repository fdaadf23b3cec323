// SPDX-License-Identifier: Apache-2.0
// The tokenizer of the real SmolLM2 file against ids that Hugging Face's tokenizers made from the
// same file.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/loading/tokenizer_from_gguf.h"
#include "model/hub/model_cache.h"
#include "text/golden_ids.h"
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

TEST(SmolLM2Tokenizer, GivesTheIdsOfHuggingFaceTokenizers) {
  const auto path = resolve_model("smollm2");
  if (!path.ok() && !models_are_required()) GTEST_SKIP() << path.status().message();
  ASSERT_TRUE(path.ok()) << path.status().message();
  const auto file = GgufFile::open(*path);
  ASSERT_TRUE(file.ok()) << to_string(file.status());
  const auto tokenizer = make_tokenizer(*file);
  ASSERT_TRUE(tokenizer.ok()) << to_string(tokenizer.status());
  EXPECT_EQ(tokenizer->vocabulary_size(), 49152);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);

  // The vocabulary has no token for 21 of the 256 bytes, among them six control characters. Texts
  // lose them.
  std::array<bool, 256> has_token{};
  for (std::int32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
    const std::string_view bytes = tokenizer->token_bytes(id).value();
    if (bytes.size() == 1) has_token[static_cast<unsigned char>(bytes[0])] = true;
  }
  EXPECT_EQ(std::count(has_token.begin(), has_token.end(), false), 21);

  const auto golden = testing::golden_ids("tokenizer_smollm2.txt");
  ASSERT_GE(golden.size(), 200U);
  for (const auto& line : golden) {
    const auto ids = tokenizer->encode(line.text, {.parse_special = line.parse_special});
    ASSERT_TRUE(ids.ok()) << to_string(ids.status());
    EXPECT_EQ(*ids, line.ids) << (line.parse_special ? "special: " : "plain: ") << line.written;
    std::string kept = lossy(line.text);
    std::erase_if(kept, [&](char c) { return !has_token[static_cast<unsigned char>(c)]; });
    EXPECT_EQ(tokenizer->decode(*ids).value(), lossy(kept)) << line.written;
  }
}

}  // namespace
}  // namespace onebeat
