// SPDX-License-Identifier: Apache-2.0
// One Knuth-Morris-Pratt automaton a string: there are few strings, and a byte costs amortised
// constant time in each.
#include "text/stop_strings.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

std::vector<std::size_t> fallbacks_of(std::string_view string) {
  std::vector<std::size_t> fallback(string.size() + 1, 0);
  std::size_t matched = 0;
  for (std::size_t i = 1; i < string.size(); ++i) {
    while (matched > 0 && string[i] != string[matched]) matched = fallback[matched];
    if (string[i] == string[matched]) ++matched;
    fallback[i + 1] = matched;
  }
  return fallback;
}

}  // namespace

Result<StopStrings> StopStrings::make(const std::vector<std::string>& strings) {
  if (strings.size() > kMaxStrings) {
    return out_of_range("{} stop strings; the limit is {}", strings.size(), kMaxStrings);
  }
  std::vector<Watch> watches;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    const std::string& string = strings[i];
    if (string.empty()) return invalid_argument("stop string {} is empty", i + 1);
    if (string.size() > kMaxBytes) {
      return out_of_range("stop string {} has {} bytes; the limit is {}", i + 1, string.size(),
                          kMaxBytes);
    }
    if (valid_prefix(string) != string.size())
      return invalid_argument("stop string {} is not valid UTF-8", i + 1);
    watches.push_back({string, fallbacks_of(string), 0});
  }
  return StopStrings(std::move(watches));
}

std::optional<std::size_t> StopStrings::append(std::string_view piece, std::string& text) {
  if (found_) return found_;
  for (const char c : piece) {
    held_.push_back(c);
    std::size_t longest = 0;
    for (std::size_t i = 0; i < watches_.size(); ++i) {
      Watch& watch = watches_[i];
      while (watch.matched > 0 && watch.string[watch.matched] != c)
        watch.matched = watch.fallback[watch.matched];
      if (watch.string[watch.matched] == c) ++watch.matched;
      if (watch.matched == watch.string.size() && watch.matched > longest) {
        longest = watch.matched;
        found_ = i;
      }
    }
    if (found_) {
      text.append(held_, 0, held_.size() - longest);
      held_.clear();
      return found_;
    }
  }
  std::size_t keep = 0;
  for (const Watch& watch : watches_) keep = std::max(keep, watch.matched);
  text.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return std::nullopt;
}

void StopStrings::finish(std::string& text) {
  text.append(held_);
  held_.clear();
}

}  // namespace onebeat
