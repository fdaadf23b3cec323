// SPDX-License-Identifier: Apache-2.0
// UTF-8 with errors: which bytes form characters, and what stands for those that do not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace onebeat {

/// The character that stands for bytes that are not UTF-8: U+FFFD.
inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// What the bytes at the beginning of a text are.
struct Utf8Sequence {
  enum class Kind : unsigned char {
    kValid,    ///< One character.
    kInvalid,  ///< Bytes that no continuation can make a character; one replacement stands for all
               ///< of them.
    kIncomplete,  ///< The beginning of a character that the end of the text cuts off.
  };
  Kind kind = Kind::kInvalid;
  std::size_t length = 1;  ///< Bytes: 1 to 4.
};

/// Examines the first character of a text that is not empty. Invalid bytes are grouped by the
/// practice that Unicode recommends (maximal subparts), as Python and Rust do.
[[nodiscard]] Utf8Sequence first_sequence(std::string_view text);

/// The length of the longest prefix that is valid UTF-8.
[[nodiscard]] std::size_t valid_prefix(std::string_view text);

/// Appends `text` to `out` with a replacement character for each group of invalid bytes. An
/// incomplete character at the end is invalid if `at_end`; otherwise it is left out. Returns the
/// number of bytes that were consumed.
std::size_t append_valid(std::string_view text, bool at_end, std::string& out);

}  // namespace onebeat
