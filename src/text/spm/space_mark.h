// SPDX-License-Identifier: Apache-2.0
// How SentencePiece writes spaces and bytes in its tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace onebeat {

/// Stands for a space: U+2581. In texts it cannot be told from one.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

/// Appends `text` with a space for each mark.
inline void append_unmarked(std::string_view text, std::string& out) {
  for (std::size_t mark = text.find(kSpaceMark); mark != std::string_view::npos;
       mark = text.find(kSpaceMark)) {
    out.append(text.substr(0, mark)).push_back(' ');
    text.remove_prefix(mark + kSpaceMark.size());
  }
  out.append(text);
}

/// `text` with a mark for each space.
[[nodiscard]] inline std::string with_marks(std::string_view text) {
  std::string out;
  for (const char c : text) c == ' ' ? out.append(kSpaceMark) : out.append(1, c);
  return out;
}

/// The byte that a token such as "<0x0A>" stands for, or -1.
[[nodiscard]] inline int byte_of_token(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const int high = digit(text[3]), low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace onebeat
