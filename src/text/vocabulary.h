// SPDX-License-Identifier: Apache-2.0
// The tokens of a model: the bytes that each stands for, its type, and the way back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/flat_index.h"
#include "text/tokenizer_spec.h"

namespace onebeat {

class Vocabulary {
 public:
  /// How a model file writes the bytes of a token.
  enum class Spelling : std::uint8_t {
    kByteAlphabet,  ///< Byte-level BPE: 256 characters stand for the bytes.
    kSpaceMark,     ///< SentencePiece: U+2581 stands for a space, "<0x0A>" for a byte.
  };
  /// Copies the tokens. Errors: kInvalidArgument for no tokens, types of another number, or a byte
  /// token that names no byte.
  static Result<Vocabulary> make(const TokenizerSpec& spec, Spelling spelling);

  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(types_.size()); }
  [[nodiscard]] bool contains(std::int32_t id) const { return id >= 0 && id < size(); }

  /// The bytes that a token stands for. Requires: contains(id).
  [[nodiscard]] std::string_view bytes(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    return std::string_view(arena_).substr(begins_[i], begins_[i + 1] - begins_[i]);
  }
  [[nodiscard]] TokenType type(std::int32_t id) const {
    return types_[static_cast<std::size_t>(id)];
  }

  /// The text token that stands for exactly these bytes, or -1. Control tokens are never found, nor
  /// are the byte tokens of kSpaceMark.
  [[nodiscard]] std::int32_t find(std::string_view bytes) const {
    return index_.find(bytes, [this](std::int32_t id) { return this->bytes(id); });
  }

  /// Whether these bytes are the text of a control token.
  [[nodiscard]] bool is_control_text(std::string_view bytes) const {
    return control_.find(bytes, [this](std::int32_t id) { return this->bytes(id); }) >= 0;
  }

  /// Appends the bytes that a token's or a merge's text in the model file stands for. False, with
  /// an unspecified part appended, if its spelling cannot spell it.
  [[nodiscard]] bool append_bytes(std::string_view text, std::string& out) const;

  /// Bytes of the longest token that find() finds.
  [[nodiscard]] std::size_t longest() const { return longest_; }

 private:
  void add_byte_level(std::string_view text, std::int32_t id);
  Status add_marked(std::string_view text, std::int32_t id);
  void index_text(std::int32_t id);

  std::string arena_;
  std::vector<std::size_t> begins_;  // size() + 1 offsets into the arena
  std::vector<TokenType> types_;
  FlatIndex index_;
  FlatIndex control_;
  std::size_t longest_ = 0;
  Spelling spelling_ = Spelling::kByteAlphabet;
};

}  // namespace onebeat
