// SPDX-License-Identifier: Apache-2.0
#include "text/vocabulary.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/quoted.h"
#include "text/bpe/byte_alphabet.h"
#include "text/spm/space_mark.h"

namespace onebeat {
namespace {

Status check(const TokenizerSpec& spec) {
  if (spec.tokens.empty()) return invalid_argument("the vocabulary has no tokens");
  if (spec.tokens.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return invalid_argument("the vocabulary has {} tokens; ids reach only to {}",
                            spec.tokens.size(), std::numeric_limits<std::int32_t>::max());
  }
  if (!spec.types.empty() && spec.types.size() != spec.tokens.size()) {
    return invalid_argument("the vocabulary has {} tokens but {} token types", spec.tokens.size(),
                            spec.types.size());
  }
  return {};
}

}  // namespace

Result<Vocabulary> Vocabulary::make(const TokenizerSpec& spec, Spelling spelling) {
  ONEBEAT_RETURN_IF_ERROR(check(spec));
  Vocabulary vocabulary;
  vocabulary.spelling_ = spelling;
  vocabulary.types_ = spec.types;
  vocabulary.types_.resize(spec.tokens.size(), TokenType::kNormal);
  std::size_t bytes = 0;
  for (const std::string_view text : spec.tokens) bytes += text.size();
  vocabulary.arena_.reserve(bytes);
  vocabulary.begins_.reserve(spec.tokens.size() + 1);
  vocabulary.begins_.push_back(0);
  vocabulary.index_ = FlatIndex(spec.tokens.size());
  const bool marked = spelling == Spelling::kSpaceMark;
  if (marked) {
    vocabulary.control_ = FlatIndex(static_cast<std::size_t>(
        std::count(vocabulary.types_.begin(), vocabulary.types_.end(), TokenType::kControl)));
  }
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = spec.tokens[static_cast<std::size_t>(id)];
    if (marked) {
      ONEBEAT_RETURN_IF_ERROR(vocabulary.add_marked(text, id));
    } else {
      vocabulary.add_byte_level(text, id);
    }
  }
  return vocabulary;
}

void Vocabulary::add_byte_level(std::string_view text, std::int32_t id) {
  // Control and user-defined tokens are written as they are; so are texts that the alphabet cannot
  // spell.
  const TokenType type = this->type(id);
  const bool verbatim =
      type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
  const bool spelled = !verbatim && append_unspelled(text, arena_);
  if (!spelled) arena_.append(text);
  begins_.push_back(arena_.size());
  if (spelled) index_text(id);
}

Status Vocabulary::add_marked(std::string_view text, std::int32_t id) {
  const TokenType type = this->type(id);
  if (type == TokenType::kByte) {
    const int byte = byte_of_token(text);
    if (byte < 0) {
      return invalid_argument("byte token {} is {}; byte tokens are written <0x00> to <0xFF>", id,
                              quoted(text));
    }
    arena_.push_back(static_cast<char>(byte));
  } else if (type == TokenType::kControl || type == TokenType::kUnknown) {
    arena_.append(text);
  } else {
    append_unmarked(text, arena_);
  }
  begins_.push_back(arena_.size());
  // A text with a space of its own is never met, because a space in a text is a mark.
  const bool text_token = type == TokenType::kUserDefined ||
                          (type == TokenType::kNormal && text.find(' ') == std::string_view::npos);
  if (text_token) index_text(id);
  if (type == TokenType::kControl) {
    control_.insert(bytes(id), id, [this](std::int32_t other) { return bytes(other); });
  }
  return {};
}

void Vocabulary::index_text(std::int32_t id) {
  const std::string_view text = bytes(id);
  if (text.empty()) return;
  index_.insert(text, id, [this](std::int32_t other) { return bytes(other); });
  longest_ = std::max(longest_, text.size());
}

bool Vocabulary::append_bytes(std::string_view text, std::string& out) const {
  if (spelling_ == Spelling::kByteAlphabet) return append_unspelled(text, out);
  append_unmarked(text, out);
  return true;
}

}  // namespace onebeat
