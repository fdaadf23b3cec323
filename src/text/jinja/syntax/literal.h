// SPDX-License-Identifier: Apache-2.0
// The literals of templates: numbers and the escapes of strings, as Python reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace onebeat::jinja {

struct NumberLiteral {
  bool is_float = false;
  std::int64_t integer = 0;
  double number = 0;
  std::size_t bytes = 0;  ///< Of the source.
};

/// Reads the number at the beginning of `text`, which starts with a digit. Null, or what is wrong.
const char* read_number(std::string_view text, bool allow_float, NumberLiteral& out);

/// Replaces the escapes of a string between quotes. Null, or what is wrong.
const char* unescape(std::string_view text, std::string& out);

}  // namespace onebeat::jinja
