// SPDX-License-Identifier: Apache-2.0
#include "text/vocabulary.h"

#include <limits>

#include "base/error.h"
#include "text/bpe/byte_alphabet.h"

namespace onebeat {

Result<Vocabulary> Vocabulary::make_byte_level(const TokenizerSpec& spec) {
  if (spec.tokens.empty()) return invalid_argument("the vocabulary has no tokens");
  if (spec.tokens.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return invalid_argument("the vocabulary has {} tokens; ids reach only to {}",
                            spec.tokens.size(), std::numeric_limits<std::int32_t>::max());
  }
  if (!spec.types.empty() && spec.types.size() != spec.tokens.size()) {
    return invalid_argument("the vocabulary has {} tokens but {} token types", spec.tokens.size(),
                            spec.types.size());
  }
  Vocabulary vocabulary;
  vocabulary.types_ = spec.types;
  vocabulary.types_.resize(spec.tokens.size(), TokenType::kNormal);
  vocabulary.begins_.reserve(spec.tokens.size() + 1);
  vocabulary.begins_.push_back(0);
  vocabulary.index_ = FlatIndex(spec.tokens.size());
  const auto bytes_of = [&](std::int32_t id) { return vocabulary.bytes(id); };
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = spec.tokens[static_cast<std::size_t>(id)];
    const TokenType type = vocabulary.type(id);
    // Control and user-defined tokens are written as they are; so are texts that the alphabet
    // cannot spell.
    const bool verbatim = type == TokenType::kControl || type == TokenType::kUserDefined ||
                          type == TokenType::kUnknown;
    const bool spelled = !verbatim && append_unspelled(text, vocabulary.arena_);
    if (!spelled) vocabulary.arena_.append(text);
    vocabulary.begins_.push_back(vocabulary.arena_.size());
    if (spelled && !text.empty()) vocabulary.index_.insert(vocabulary.bytes(id), id, bytes_of);
  }
  return vocabulary;
}

}  // namespace onebeat
