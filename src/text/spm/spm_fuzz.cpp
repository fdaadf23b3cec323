// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: a small SentencePiece-style tokenizer made from the first bytes reads the rest
// as text. Whatever both are, ids stay in the vocabulary, pieces of decoded text join to the whole,
// and decoding gives the text back where every byte has a token and nothing is put before it.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/detokenizer.h"
#include "text/spm/space_mark.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

void require(bool condition) {
  if (!condition) __builtin_trap();
}

/// Takes bytes from the front of the input; zeros once it is used up.
struct Input {
  std::string_view left;
  std::uint8_t byte() {
    if (left.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(left.front());
    left.remove_prefix(1);
    return value;
  }
  std::string_view text(std::size_t length) {
    const std::string_view taken = left.substr(0, length);
    left.remove_prefix(taken.size());
    return taken;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace onebeat;
  Input in{{reinterpret_cast<const char*>(data), size}};
  const bool with_bytes = in.byte() % 4 != 0;
  const bool by_scores = in.byte() % 2 == 0;
  const auto prefix = static_cast<SpacePrefix>(in.byte() % 4);

  std::vector<std::string> tokens = {"<unk>", "a", "b", std::string(kSpaceMark), "\n", "\xc3\xa9"};
  std::vector<TokenType> types(tokens.size(), TokenType::kNormal);
  types[0] = TokenType::kUnknown;
  const char* const digits = "0123456789ABCDEF";
  for (unsigned byte = 0; with_bytes && byte < 256; ++byte) {
    tokens.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
    types.push_back(TokenType::kByte);
  }
  std::vector<std::string> merges;
  std::vector<std::size_t> texts = {1, 2, 3, 4, 5};
  for (unsigned i = in.byte() % 32; i > 0; --i) {
    const std::string left = tokens[texts[in.byte() % texts.size()]];
    const std::string right = tokens[texts[in.byte() % texts.size()]];
    if (left.size() + right.size() > 64) continue;
    merges.push_back(left + " " + right);
    texts.push_back(tokens.size());
    tokens.push_back(left + right);
    types.push_back(TokenType::kNormal);
  }
  for (unsigned i = in.byte() % 8; i > 0; --i) {
    types.push_back(static_cast<TokenType>(in.byte() % 6));
    tokens.emplace_back(in.text(in.byte() % 16));
  }
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens.assign(tokens.begin(), tokens.end());
  spec.types = types;
  spec.space_prefix = prefix;
  spec.unknown = 0;
  if (by_scores || merges.empty()) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      // Any bits: negative, infinite, NaN.
      const std::uint32_t bits = std::uint32_t{in.byte()} << 24 | std::uint32_t{in.byte()} << 16;
      spec.scores.push_back(std::bit_cast<float>(bits));
    }
  } else {
    spec.merges.assign(merges.begin(), merges.end());
  }
  const auto tokenizer = Tokenizer::make(spec);
  if (!tokenizer.ok()) return 0;

  const bool parse_special = in.byte() % 2 != 0;
  const std::string_view text = in.left;
  const auto ids = tokenizer->encode(text, {.parse_special = parse_special});
  require(ids.ok());
  for (const std::int32_t id : *ids) require(id >= 0 && id < tokenizer->vocabulary_size());
  const auto decoded = tokenizer->decode(*ids);
  require(decoded.ok() && valid_prefix(*decoded) == decoded->size());
  if (with_bytes && !parse_special && prefix == SpacePrefix::kNone) {
    std::string valid, expected;
    append_valid(text, true, valid);
    append_unmarked(valid, expected);
    require(*decoded == expected);
  }
  Detokenizer detokenizer(*tokenizer, true);
  std::string joined;
  for (const std::int32_t id : *ids) require(detokenizer.append(id, joined).ok());
  detokenizer.finish(joined);
  require(joined == *decoded);
  return 0;
}
