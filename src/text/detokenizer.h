// SPDX-License-Identifier: Apache-2.0
// Ids to text as they come, without ever splitting a character.
#pragma once

#include <cstdint>
#include <string>

#include "onebeat/status.h"
#include "text/tokenizer.h"

namespace onebeat {

/// Decodes one sequence token by token. What comes out, joined, is what Tokenizer::decode gives for
/// all ids at once.
class Detokenizer {
 public:
  /// `tokenizer` must outlive this object. With `continues` the sequence goes on from a text that
  /// is there already, so that a space at its beginning belongs to it in any case.
  explicit Detokenizer(const Tokenizer& tokenizer, bool show_special = false,
                       bool continues = false)
      : tokenizer_(tokenizer),
        show_special_(show_special),
        drop_space_(tokenizer.puts_space_first() && !continues) {}

  /// Appends to `text` the characters that `id` completes; at most 3 bytes wait for the next token.
  /// Errors: kOutOfRange; nothing changes then.
  Status append(std::int32_t id, std::string& text);

  /// Ends the sequence: appends U+FFFD if a character was left incomplete.
  void finish(std::string& text);

 private:
  const Tokenizer& tokenizer_;
  bool show_special_;
  bool drop_space_;  // Nothing has come yet, and a space would not belong to the text.
  std::string waiting_;
};

}  // namespace onebeat
