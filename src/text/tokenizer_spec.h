// SPDX-License-Identifier: Apache-2.0
// All that a tokenizer is made from, whatever file it was read from.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace onebeat {

/// What a token of the vocabulary is for.
enum class TokenType : std::uint8_t {
  kNormal,       ///< Text.
  kUnknown,      ///< Stands for text that has no token.
  kControl,      ///< Structure, such as the end of a turn; never made from plain text.
  kUserDefined,  ///< Text that is always one token, wherever it appears.
  kUnused,       ///< A place that was left free.
  kByte,         ///< One byte.
};

/// The parts of a tokenizer. All views are borrowed until the tokenizer has been made.
struct TokenizerSpec {
  /// The algorithm, by its name in model files: "gpt2" is byte-level BPE.
  std::string_view model;
  /// The rule that cuts text into pieces before merging, by its name in model files, such as
  /// "smollm".
  std::string_view pre_tokenizer;
  /// Token texts by id. Byte-level BPE spells bytes with the 256 characters of its alphabet.
  std::vector<std::string_view> tokens;
  /// Token types by id, or empty if all are normal.
  std::vector<TokenType> types;
  /// Merges, the most urgent first: two token texts with a space between.
  std::vector<std::string_view> merges;

  std::optional<std::int32_t> bos;  ///< Begins a sequence.
  std::optional<std::int32_t> eos;  ///< Ends a sequence.
  /// Tokens at which generation ends; `eos` is always among them.
  std::vector<std::int32_t> end_tokens;
  /// Whether the model expects `bos` before its input.
  bool add_bos = false;
};

}  // namespace onebeat
