// SPDX-License-Identifier: Apache-2.0
#include "chat/line_editor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "interrupt.h"
#include "terminal_text.h"

namespace onebeat::cli {
namespace {

/// While it lives, keys come as they are typed, Ctrl-C and Ctrl-Z among them, and are not echoed;
/// pasted text is marked as such. No key can end the program and leave the terminal so.
class RawTerminal {
 public:
  RawTerminal() {
    ::tcgetattr(STDIN_FILENO, &before_);
    begin();
  }
  ~RawTerminal() { end(); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  /// What Ctrl-Z does elsewhere; returns when the program goes on.
  void suspend() {
    end();
    std::raise(SIGTSTP);
    begin();
  }

 private:
  void begin() const {
    termios raw = before_;
    raw.c_iflag &= ~static_cast<tcflag_t>(ICRNL | IXON);
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    std::fputs("\x1b[?2004h", stdout);
  }
  void end() const {
    std::fputs("\x1b[?2004l", stdout);
    std::fflush(stdout);
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }

  termios before_ = {};
};

std::size_t terminal_columns() {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

LineOutcome LineEditor::read(std::string_view prompt, std::size_t prompt_columns,
                             std::string& line) {
  RawTerminal terminal;
  draw(prompt, prompt_columns);
  Keys keys = Keys::kCame;  // Some may have come with the line before.
  while (true) {
    // An escape that nothing followed is a key of its own.
    pending_.erase(0, buffer_.feed(pending_, keys == Keys::kPaused));
    const EditBuffer::Event event = buffer_.event();
    if (event == EditBuffer::Event::kSubmit) {
      line = buffer_.text();
      buffer_.start_over(line);
      // The whole line, of which only a part may have been shown.
      fmt::print("\r{}\x1b[K{}\n", prompt, without_controls(line));
      return LineOutcome::kLine;
    }
    if (event == EditBuffer::Event::kSuspend) terminal.suspend();
    draw(prompt, prompt_columns);
    if (event == EditBuffer::Event::kSuspend) continue;
    if (event == EditBuffer::Event::kEnd) return LineOutcome::kEnd;
    if (event == EditBuffer::Event::kNone) keys = wait_for_keys();
    if (keys == Keys::kEnded) return LineOutcome::kEnd;
    if (event == EditBuffer::Event::kInterrupt || keys == Keys::kInterrupted) {
      buffer_.start_over("");
      return LineOutcome::kInterrupted;
    }
  }
}

LineEditor::Keys LineEditor::wait_for_keys() {
  while (true) {
    if (interrupted()) return Keys::kInterrupted;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    // A signal just before the wait does not end it, so it looks up now and then.
    const int ready = ::poll(&input, 1, 100);
    if (ready == 0 && !pending_.empty()) return Keys::kPaused;
    if (ready <= 0) continue;
    char bytes[4096];
    const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Keys::kEnded;
    pending_.append(bytes, static_cast<std::size_t>(count));
    return Keys::kCame;
  }
}

void LineEditor::draw(std::string_view prompt, std::size_t prompt_columns) const {
  const EditView view =
      view_of(buffer_.text(), buffer_.cursor(), prompt_columns, terminal_columns());
  fmt::print("\r{}{}\x1b[K\r\x1b[{}C", prompt, view.shown, view.cursor_column);
  std::fflush(stdout);
}

}  // namespace onebeat::cli
