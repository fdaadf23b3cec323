// SPDX-License-Identifier: Apache-2.0
// What Python's strings do, on UTF-8: positions count characters, whitespace is Unicode's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onebeat::jinja {

/// The code point at the beginning of a text that is not empty, and its bytes. A byte that is not
/// UTF-8 counts as one character: U+FFFD.
struct CodePoint {
  char32_t value = 0xfffd;
  std::size_t bytes = 1;
};
[[nodiscard]] CodePoint first_code_point(std::string_view text);
void append_code_point(char32_t value, std::string& out);

/// Python's str.isspace() of one character.
[[nodiscard]] bool is_space(char32_t value);

/// Characters in a text.
[[nodiscard]] std::size_t count_characters(std::string_view text);
/// The byte at which each character begins, and the end.
[[nodiscard]] std::vector<std::size_t> character_offsets(std::string_view text);

enum class Side : std::uint8_t { kLeft = 1, kRight = 2, kBoth = 3 };
/// Without whitespace, or without the characters of `set`, at the given side.
[[nodiscard]] std::string_view strip(std::string_view text, Side side,
                                     std::optional<std::string_view> set);

[[nodiscard]] std::string to_upper(std::string_view text);
[[nodiscard]] std::string to_lower(std::string_view text);
/// The first character in upper case, the rest in lower case.
[[nodiscard]] std::string capitalize(std::string_view text);
/// The first letter of each word in upper case as Jinja's filter `title` sees words: what follows
/// whitespace or one of -([{< begins one.
[[nodiscard]] std::string title_words(std::string_view text);

/// The number of times that `part`, which is not empty, occurs without overlap, up to `limit`.
[[nodiscard]] std::size_t count_parts(std::string_view text, std::string_view part,
                                      std::size_t limit = static_cast<std::size_t>(-1));
/// Python's str.split() without a separator: runs of whitespace separate.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view text, std::size_t limit);
/// Python's str.split(separator): `separator` is not empty.
[[nodiscard]] std::vector<std::string_view> split_parts(std::string_view text,
                                                        std::string_view separator,
                                                        std::size_t limit);
/// The same from the right.
[[nodiscard]] std::vector<std::string_view> split_parts_right(std::string_view text,
                                                              std::string_view separator,
                                                              std::size_t limit);
/// Python's str.splitlines().
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text);

}  // namespace onebeat::jinja
