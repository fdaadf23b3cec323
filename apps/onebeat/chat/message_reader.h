// SPDX-License-Identifier: Apache-2.0
// Where the messages of a chat come from: a terminal with a line editor, or lines of a pipe.
#pragma once

#include <string>
#include <string_view>

#include "chat/line_editor.h"

namespace onebeat::cli {

class MessageReader {
 public:
  MessageReader();

  /// Whether somebody types and sees what is written.
  [[nodiscard]] bool interactive() const { return interactive_; }
  /// Whether what is written may have colours (NO_COLOR, TERM=dumb).
  [[nodiscard]] bool colours() const { return colours_; }

  /// Shows `prompt` if somebody sees it, and reads a message. The text is valid UTF-8.
  LineOutcome read(std::string_view prompt, std::string& message);

 private:
  LineOutcome read_line(std::string& line);

  bool interactive_;
  bool edits_;
  bool colours_;
  LineEditor editor_;
  std::string pending_;  // Read from the pipe, but no line yet.
};

}  // namespace onebeat::cli
