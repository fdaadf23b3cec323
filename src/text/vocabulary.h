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
  /// Copies the tokens of a byte-level BPE vocabulary. Errors: kInvalidArgument for no tokens, or
  /// types of another number.
  static Result<Vocabulary> make_byte_level(const TokenizerSpec& spec);

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

  /// The text token that stands for exactly these bytes, or -1. Control tokens are never found.
  [[nodiscard]] std::int32_t find(std::string_view bytes) const {
    return index_.find(bytes, [this](std::int32_t id) { return this->bytes(id); });
  }

 private:
  std::string arena_;
  std::vector<std::size_t> begins_;  // size() + 1 offsets into the arena
  std::vector<TokenType> types_;
  FlatIndex index_;
};

}  // namespace onebeat
