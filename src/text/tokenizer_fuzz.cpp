// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: a small tokenizer made from the first bytes reads the rest as text. Whatever
// both are, ids stay in the vocabulary, pieces of decoded text join to the whole, and decoding
// gives the text back where every byte has a token.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe/byte_alphabet.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

constexpr std::array<std::string_view, 4> kRules = {"gpt-2", "smollm", "llama-bpe", "qwen2"};

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
  const std::string_view rule = kRules[in.byte() % kRules.size()];
  const bool raw_spec = in.byte() % 8 == 0;  // Otherwise the parts fit together.

  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<std::string> merges;
  const unsigned missing = in.byte();  // A byte that may have no token.
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte == missing ? 'a' : byte);
    append_spelled({&c, 1}, tokens.emplace_back());
  }
  types.resize(tokens.size(), TokenType::kNormal);
  for (unsigned i = in.byte() % 32; i > 0; --i) {
    const std::string& left = tokens[in.byte() % tokens.size()];
    const std::string& right = tokens[(in.byte() + 256U * (in.byte() % 2)) % tokens.size()];
    const std::string result = left + right;
    if (result.size() > 64) continue;
    merges.push_back(left + " " + right);
    tokens.push_back(result);
    types.push_back(TokenType::kNormal);
  }
  for (unsigned i = in.byte() % 8; i > 0; --i) {
    types.push_back(static_cast<TokenType>(in.byte() % 6));
    tokens.emplace_back(in.text(in.byte() % 16));
    if (raw_spec) merges.emplace_back(in.text(in.byte() % 16));
  }
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre_tokenizer = rule;
  spec.tokens.assign(tokens.begin(), tokens.end());
  spec.types = types;
  spec.merges.assign(merges.begin(), merges.end());
  const auto tokenizer = Tokenizer::make(spec);
  if (!tokenizer.ok()) return 0;

  const std::string stop(in.text(in.byte() % 8));
  const bool parse_special = in.byte() % 2 == 0;
  const std::string_view text = in.left;
  const auto ids = tokenizer->encode(text, {.parse_special = parse_special});
  require(ids.ok());
  for (const std::int32_t id : *ids) require(id >= 0 && id < tokenizer->vocabulary_size());
  const auto decoded = tokenizer->decode(*ids);
  require(decoded.ok() && valid_prefix(*decoded) == decoded->size());
  if (rule != "qwen2" &&
      (missing == 'a' || text.find(static_cast<char>(missing)) == std::string_view::npos) &&
      (missing == 0xef || missing == 0xbf || missing == 0xbd ? valid_prefix(text) == text.size()
                                                             : true)) {
    std::string expected;
    append_valid(text, true, expected);
    require(*decoded == expected);
  }

  auto stops =
      StopStrings::make(stop.empty() ? std::vector<std::string>{} : std::vector<std::string>{stop});
  Detokenizer detokenizer(*tokenizer, true);
  std::string joined;
  std::string watched;
  for (const std::int32_t id : *ids) {
    const std::size_t before = joined.size();
    require(detokenizer.append(id, joined).ok());
    if (stops.ok()) (void)stops->append(std::string_view(joined).substr(before), watched);
  }
  const std::size_t before = joined.size();
  detokenizer.finish(joined);
  require(joined == *decoded);
  if (stops.ok()) {
    (void)stops->append(std::string_view(joined).substr(before), watched);
    stops->finish(watched);
    require(watched == (stop.empty() ? joined : joined.substr(0, joined.find(stop))));
  }
  return 0;
}
