// SPDX-License-Identifier: Apache-2.0
#include "reply_text.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "terminal_text.h"

namespace onebeat::cli {

ReplyText::ReplyText(const Tokenizer& tokenizer, StopStrings stops, bool print, bool continues)
    : detokenizer_(tokenizer, false, continues), stops_(std::move(stops)), print_(print) {}

bool ReplyText::append(std::int32_t token) {
  std::string piece;
  status_ = detokenizer_.append(token, piece);
  return status_.ok() && take(piece);
}

Status ReplyText::finish() {
  std::string piece;
  detokenizer_.finish(piece);
  if (take(piece)) {
    std::string held;
    stops_.finish(held);
    show(held);
  }
  // For files and pipes exactly the text; a terminal's next line begins at its left.
  if (print_ && isatty(STDOUT_FILENO) == 1 && !text_.ends_with('\n')) std::fputc('\n', stdout);
  return status_;
}

bool ReplyText::take(const std::string& piece) {
  if (stopped_) return false;
  std::string certain;
  stopped_ = stops_.append(piece, certain).has_value();
  show(certain);
  return !stopped_;
}

void ReplyText::show(const std::string& piece) {
  text_ += piece;
  if (!print_ || piece.empty()) return;
  const std::string shown = isatty(STDOUT_FILENO) == 1 ? without_controls(piece) : piece;
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
}

}  // namespace onebeat::cli
