// SPDX-License-Identifier: Apache-2.0
// Cuts text into the pieces within which BPE merges: one regular expression per model family.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// A family's rule. Its pattern matches everything but what becomes a piece of its own between two
/// matches.
struct PreTokenizerRule {
  std::string_view name;     ///< As model files call it.
  std::string_view pattern;  ///< PCRE2, with \s written as @ and \S as # (see the .cpp).
  bool whole_words = false;  ///< A piece that is a token is that token, whatever the merges say.
  bool compose = false;      ///< Text is brought to Unicode's composed form (NFC) first.
};

/// The rule, or kUnsupported with the names that are known.
Result<const PreTokenizerRule*> find_pre_tokenizer_rule(std::string_view name);

/// A compiled rule. Thread-safe: every walk over a text has its own PieceCursor.
class PreTokenizer {
 public:
  /// Errors: kInternal if PCRE2 refuses the pattern.
  static Result<PreTokenizer> make(const PreTokenizerRule& rule);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;
  ~PreTokenizer();

 private:
  friend class PieceCursor;
  struct Code;
  explicit PreTokenizer(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

/// Walks over the pieces of texts.
class PieceCursor {
 public:
  /// `tokenizer` must outlive the cursor.
  explicit PieceCursor(const PreTokenizer& tokenizer);
  PieceCursor(const PieceCursor&) = delete;
  PieceCursor& operator=(const PieceCursor&) = delete;
  ~PieceCursor();

  /// Begins a text; it must be valid UTF-8 and stay alive.
  void start(std::string_view text);

  /// Puts the next piece in `piece`; an empty one at the end. Pieces are adjacent and cover the
  /// text. Errors: kInternal or kResourceExhausted from PCRE2.
  Status next(std::string_view& piece);

 private:
  struct Match;
  const PreTokenizer& tokenizer_;
  std::unique_ptr<Match> match_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t match_end_ = 0;  // Behind at_ if a match has been found but not yet handed out.
};

}  // namespace onebeat
