// SPDX-License-Identifier: Apache-2.0
#include "chat/message_reader.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "interrupt.h"
#include "text/utf8.h"

namespace onebeat::cli {
namespace {

std::string_view variable(const char* name) {
  const char* found = std::getenv(name);
  return found == nullptr ? std::string_view() : found;
}

}  // namespace

MessageReader::MessageReader()
    : interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1),
      edits_(interactive_ && variable("TERM") != "dumb"),
      colours_(edits_ && variable("NO_COLOR").empty()) {}

LineOutcome MessageReader::read(std::string_view prompt, std::string& message) {
  std::string line;
  LineOutcome outcome = LineOutcome::kEnd;
  const std::string shown =
      colours_ ? fmt::format("\x1b[1;36m{}\x1b[0m", prompt) : std::string(prompt);
  if (edits_) {
    outcome = editor_.read(shown, prompt.size(), line);
  } else {
    if (interactive_) std::fputs(shown.c_str(), stdout);
    std::fflush(stdout);
    outcome = read_line(line);
  }
  message.clear();
  append_valid(line, true, message);
  return outcome;
}

/// A signal ends a wait, which std::getline would take for the end; the wait looks up now and then,
/// because a signal just before it does not end it.
LineOutcome MessageReader::read_line(std::string& line) {
  while (true) {
    if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return LineOutcome::kLine;
    }
    if (interrupted()) return LineOutcome::kInterrupted;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, 100) <= 0) continue;
    char buffer[4096];
    const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (count > 0) {
      pending_.append(buffer, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      if (pending_.empty()) return LineOutcome::kEnd;
      line = std::exchange(pending_, {});
      return LineOutcome::kLine;
    }
  }
}

}  // namespace onebeat::cli
