// SPDX-License-Identifier: Apache-2.0
#include "chat/thinking_text.h"

#include <algorithm>
#include <utility>

namespace onebeat::cli {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kSpace = " \t\r\n";

/// Bytes at the end of `text` with which `tag` may begin.
std::size_t open_end(std::string_view text, std::string_view tag) {
  std::size_t length = std::min(text.size(), tag.size() - 1);
  while (!text.ends_with(tag.substr(0, length))) --length;
  return length;
}

}  // namespace

std::vector<ThinkingText::Part> ThinkingText::append(std::string_view piece) {
  held_ += piece;
  std::vector<Part> parts;
  while (!held_.empty() && take(parts, false)) {
  }
  return parts;
}

std::vector<ThinkingText::Part> ThinkingText::finish() {
  std::vector<Part> parts;
  while (!held_.empty() && take(parts, true)) {
  }
  return parts;
}

bool ThinkingText::take(std::vector<Part>& parts, bool last) {
  const std::size_t first = std::min(held_.find_first_not_of(kSpace), held_.size());
  if (state_ == State::kBegin) {
    const std::string_view rest = std::string_view(held_).substr(first);
    if (rest.starts_with(kOpen)) {
      held_.erase(0, first + kOpen.size());
      state_ = State::kThought;
      return true;
    }
    if (!last && kOpen.starts_with(rest)) return false;
    state_ = State::kAnswer;
    return true;
  }
  if (state_ == State::kBetween) {
    held_.erase(0, first);
    if (!held_.empty()) state_ = State::kAnswer;
    return true;
  }
  if (state_ == State::kAnswer) {
    parts.push_back({std::exchange(held_, {}), false});
    return true;
  }
  const std::size_t end = held_.find(kClose);
  const std::size_t certain =
      end != std::string::npos ? end : held_.size() - (last ? 0 : open_end(held_, kClose));
  if (certain > 0) parts.push_back({held_.substr(0, certain), true});
  held_.erase(0, end != std::string::npos ? end + kClose.size() : certain);
  if (end != std::string::npos) state_ = State::kBetween;
  return end != std::string::npos || last;
}

}  // namespace onebeat::cli
