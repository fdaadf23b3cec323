// SPDX-License-Identifier: Apache-2.0
// A reply as text while its tokens come.
#pragma once

#include <cstdint>
#include <string>

#include "onebeat/status.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"

namespace onebeat::cli {

/// The reply's text as tokens come: whole characters only, held back while a stop string may be
/// beginning. Written to standard output as it becomes certain, if `print`.
class ReplyText {
 public:
  /// `tokenizer` must outlive it. `continues`: the text goes on from a prompt, so that a space at
  /// its beginning is part of it.
  ReplyText(const Tokenizer& tokenizer, StopStrings stops, bool print, bool continues = false);

  /// Returns whether the reply goes on.
  bool append(std::int32_t token);

  /// Shows what was held back. Errors: what append() met.
  Status finish();

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool take(const std::string& piece);
  void show(const std::string& piece);

  Detokenizer detokenizer_;
  StopStrings stops_;
  Status status_;
  std::string text_;
  bool print_;
  bool stopped_ = false;
};

}  // namespace onebeat::cli
