// SPDX-License-Identifier: Apache-2.0
// Watches a text that comes in pieces for stop strings, and holds back what may turn out to begin
// one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// The outcome does not depend on how the text is cut into pieces: the stop string that is complete
/// first ends the text, and of those that end at the same byte the longest.
class StopStrings {
 public:
  static constexpr std::size_t kMaxStrings = 64;
  static constexpr std::size_t kMaxBytes = 4096;  ///< Of one string.

  /// Errors: kInvalidArgument for an empty string or one that is not UTF-8; kOutOfRange beyond the
  /// limits.
  static Result<StopStrings> make(const std::vector<std::string>& strings);

  /// Takes the next piece and appends to `text` what is certain not to belong to a stop string.
  /// Returns the index of the stop string that was found; it is not part of the text, and the watch
  /// ends: later pieces are ignored.
  std::optional<std::size_t> append(std::string_view piece, std::string& text);

  /// Ends the text: appends what was held back, unless a stop string was found.
  void finish(std::string& text);

 private:
  struct Watch {
    std::string string;
    std::vector<std::size_t>
        fallback;  // By matched length: the longest proper prefix that is also its suffix.
    std::size_t matched = 0;
  };
  explicit StopStrings(std::vector<Watch> watches) : watches_(std::move(watches)) {}

  std::vector<Watch> watches_;
  std::string held_;
  std::optional<std::size_t> found_;
};

}  // namespace onebeat
