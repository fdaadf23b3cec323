// SPDX-License-Identifier: Apache-2.0
// TextStream: the text of a completion while its tokens come, up to a stop string.
#pragma once

#include <memory>
#include <string>

#include "text/detokenizer.h"
#include "text/stop_strings.h"

namespace onebeat {

class TextStream {
 public:
  /// `show_special`, `continues`: see Detokenizer.
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, StopStrings stops, bool show_special,
             bool continues)
      : tokenizer_(std::move(tokenizer)),
        detokenizer_(*tokenizer_, show_special, continues),
        stops_(std::move(stops)) {}

  /// Takes a token; text() is then what it made certain. Returns whether a stop string is complete;
  /// nothing comes after it. Errors: those of Detokenizer::append().
  [[nodiscard]] Result<bool> append(std::int32_t token) {
    text_.clear();
    piece_.clear();
    // A model's table may have rows beyond its tokenizer; they are no text.
    if (token >= tokenizer_->vocabulary_size()) return false;
    ONEBEAT_RETURN_IF_ERROR(detokenizer_.append(token, piece_));
    stopped_ = stops_.append(piece_, text_).has_value();
    return stopped_;
  }

  /// Adds to text() what was held back: no more tokens come.
  void finish() {
    if (stopped_) return;
    piece_.clear();
    detokenizer_.finish(piece_);
    stopped_ = stops_.append(piece_, text_).has_value();
    if (!stopped_) stops_.finish(text_);
    stopped_ = true;
  }

  void clear() { text_.clear(); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  Detokenizer detokenizer_;
  StopStrings stops_;
  std::string piece_, text_;
  bool stopped_ = false;
};

}  // namespace onebeat
