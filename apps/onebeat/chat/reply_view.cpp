// SPDX-License-Identifier: Apache-2.0
#include "chat/reply_view.h"

#include <cstdio>

#include "terminal_text.h"

namespace onebeat::cli {

void ReplyView::append(std::string_view piece) {
  if (colours_) {
    show(thinking_.append(piece));
  } else {
    write(terminal_ ? without_controls(piece) : std::string(piece));
  }
  std::fflush(stdout);
}

void ReplyView::finish() {
  if (colours_) show(thinking_.finish());
  if (dim_) std::fputs("\x1b[0m", stdout);
  // Over a pipe each reply ends with one line end of ours, whatever it ends with itself.
  if (!terminal_ || !line_ended_) std::fputc('\n', stdout);
  std::fflush(stdout);
}

void ReplyView::show(const std::vector<ThinkingText::Part>& parts) {
  for (const ThinkingText::Part& part : parts) {
    if (part.thought && !dim_) std::fputs("\x1b[2m", stdout);
    if (!part.thought && dim_) {
      std::fputs("\x1b[0m", stdout);
      write(line_ended_ ? "\n" : "\n\n");
    }
    dim_ = part.thought;
    write(without_controls(part.text));
  }
}

void ReplyView::write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty()) line_ended_ = text.ends_with('\n');
}

}  // namespace onebeat::cli
