// SPDX-License-Identifier: Apache-2.0
// Tells a reply's thinking, which models write between <think> and </think>, from its answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onebeat::cli {

/// Takes a reply as it comes. The outcome does not depend on how it is cut into pieces.
class ThinkingText {
 public:
  /// A part of the reply as it is shown: without the tags and the space before the answer.
  struct Part {
    std::string text;
    bool thought = false;
  };

  /// `begins_inside`: the prompt has opened the thinking already.
  explicit ThinkingText(bool begins_inside)
      : state_(begins_inside ? State::kThought : State::kBegin) {}

  /// What of the reply is certain now, in its order.
  [[nodiscard]] std::vector<Part> append(std::string_view piece);
  /// What was held back because it might have begun a tag.
  [[nodiscard]] std::vector<Part> finish();

 private:
  enum class State : std::uint8_t { kBegin, kThought, kBetween, kAnswer };

  /// Takes one part from the front of what is held; false: more has to come first.
  bool take(std::vector<Part>& parts, bool last);

  State state_;
  std::string held_;
};

}  // namespace onebeat::cli
