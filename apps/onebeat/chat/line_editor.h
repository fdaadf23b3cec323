// SPDX-License-Identifier: Apache-2.0
// Messages typed in a terminal: editing, history, and pasted text of several lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "chat/edit_buffer.h"

namespace onebeat::cli {

/// How reading a line ended.
enum class LineOutcome : std::uint8_t { kLine, kEnd, kInterrupted };

/// Reads lines from the terminal that standard input and output are.
class LineEditor {
 public:
  /// Shows `prompt`, which takes `prompt_columns` columns (colours take none), and reads until the
  /// line's end. Ctrl-C or a signal ends it with kInterrupted and forgets the line.
  LineOutcome read(std::string_view prompt, std::size_t prompt_columns, std::string& line);

 private:
  enum class Keys : std::uint8_t { kCame, kPaused, kEnded, kInterrupted };

  Keys wait_for_keys();
  void draw(std::string_view prompt, std::size_t prompt_columns) const;

  EditBuffer buffer_;
  std::string pending_;  // Bytes read but not yet used.
};

}  // namespace onebeat::cli
