// SPDX-License-Identifier: Apache-2.0
// Finds the texts of special tokens in a text: leftmost first, and of those the longest.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

class SpecialMatcher {
 public:
  /// The longest special token that can be found; it bounds the work per byte of text.
  static constexpr std::size_t kMaxBytes = 256;

  /// Adds a token that is not empty; of equal texts the first one counts. Errors: kInvalidArgument
  /// beyond kMaxBytes.
  Status add(std::string_view text, std::int32_t id);

  struct Found {
    std::size_t begin = 0;  ///< The text's size if nothing was found.
    std::size_t length = 0;
    std::int32_t id = -1;
  };
  /// The first special token at or after `from`.
  [[nodiscard]] Found find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::int32_t id = -1;       // Of the token that ends here.
    std::int32_t sibling = -1;  // The next node under the same parent.
    std::int32_t child = -1;    // The first node below.
    char byte = 0;
  };
  [[nodiscard]] std::int32_t child_of(std::int32_t node, char byte) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> begins_{};  // Bytes with which a token begins.
};

}  // namespace onebeat
