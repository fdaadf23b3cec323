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

/// Where a SentencePiece-style tokenizer puts a space before a text. The text is cut at special
/// tokens into segments.
enum class SpacePrefix : std::uint8_t {
  kNone,
  kAlways,   ///< Before each segment.
  kMissing,  ///< Before each segment that does not begin with one.
  kFirst,    ///< Before the segment that begins the text, unless it begins with one.
};

/// The parts of a tokenizer. All views are borrowed until the tokenizer has been made.
struct TokenizerSpec {
  /// The algorithm, by its name in model files: "gpt2" is byte-level BPE, "llama" is BPE as
  /// SentencePiece does it.
  std::string_view model;
  /// The rule that cuts text into pieces before merging, by its name in model files, such as
  /// "smollm". Byte-level BPE only.
  std::string_view pre_tokenizer;
  /// Token texts by id. Byte-level BPE spells bytes with the 256 characters of its alphabet,
  /// SentencePiece spaces with U+2581.
  std::vector<std::string_view> tokens;
  /// Token types by id, or empty if all are normal.
  std::vector<TokenType> types;
  /// Merges, the most urgent first: two token texts with a space between.
  std::vector<std::string_view> merges;
  /// SentencePiece-style: scores by id. Of neighbours that are a token together, those merge first
  /// whose token has the highest score. Empty: `merges` say what merges.
  std::vector<float> scores;
  SpacePrefix space_prefix = SpacePrefix::kNone;  ///< SentencePiece-style only.
  std::optional<std::int32_t> unknown;  ///< SentencePiece-style: for text that has no token.

  std::optional<std::int32_t> bos;  ///< Begins a sequence.
  std::optional<std::int32_t> eos;  ///< Ends a sequence.
  /// Tokens at which generation ends; `eos` is always among them.
  std::vector<std::int32_t> end_tokens;
  /// Whether the model expects `bos` before its input.
  bool add_bos = false;
};

}  // namespace onebeat
