// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/tokenizer_spec.h"

namespace onebeat {

/// How a text is encoded.
struct EncodeOptions {
  /// Whether texts of control tokens, such as "<|im_end|>", become those tokens. Only for text that
  /// the program made itself or whose writer is trusted with the structure of the conversation;
  /// otherwise they are spelled out.
  bool parse_special = false;
  /// Whether the token that begins a sequence comes first; kModel does what the model file asks
  /// for.
  enum class Begin : std::uint8_t { kNever, kAlways, kModel } begin = Begin::kNever;
};

/// A model's tokenizer. Immutable: all functions may be called from many threads at once.
///
/// Text that is not valid UTF-8 is read as if each group of invalid bytes were U+FFFD, grouped as
/// Python's and Rust's lossy decoders do, so that ids equal those of tokenizers that only take
/// strings. Bytes for which a byte-level vocabulary has no token are left out, as those tokenizers
/// do.
class Tokenizer {
 public:
  /// Copies what it needs of `spec`. Errors: kUnsupported for an algorithm or pre-tokenizer that is
  /// not known (named, with those that are), kInvalidArgument for parts that do not fit together.
  static Result<Tokenizer> make(const TokenizerSpec& spec);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  ~Tokenizer();

  /// The ids of `text`. Errors: kOutOfRange for a text of 2^31 bytes or more; kUnsupported for
  /// `begin` = kAlways where the model has no such token.
  [[nodiscard]] Result<std::vector<std::int32_t>> encode(std::string_view text,
                                                         const EncodeOptions& options = {}) const;

  /// The text of `ids`; bytes that are not UTF-8 become U+FFFD. With `show_special` false, control
  /// tokens give nothing. Errors: kOutOfRange names the first id that is not in the vocabulary.
  [[nodiscard]] Result<std::string> decode(std::span<const std::int32_t> ids,
                                           bool show_special = true) const;

  /// The bytes that one token stands for: not always whole characters. Errors: kOutOfRange.
  [[nodiscard]] Result<std::string_view> token_bytes(std::int32_t id) const;

  /// Whether a space is put before a text, which decode() takes away.
  [[nodiscard]] bool puts_space_first() const;

  [[nodiscard]] std::int32_t vocabulary_size() const;
  /// Whether `id` is a control token. Requires: 0 <= id < vocabulary_size().
  [[nodiscard]] bool is_control(std::int32_t id) const;
  /// Whether generation ends at `id`.
  [[nodiscard]] bool is_end(std::int32_t id) const;
  [[nodiscard]] std::optional<std::int32_t> bos() const;
  [[nodiscard]] std::optional<std::int32_t> eos() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace onebeat
