// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/syntax/literal.h"

#include <charconv>

#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// Digits with single underscores between them; returns the bytes, appends the digits.
std::size_t read_digits(std::string_view text, int base, std::string& digits) {
  std::size_t size = 0;
  while (size < text.size()) {
    const std::size_t at = text[size] == '_' ? size + 1 : size;
    if (at >= text.size() || digit_value(text[at]) >= base) break;
    digits.push_back(text[at]);
    size = at + 1;
  }
  return size;
}

}  // namespace

const char* read_number(std::string_view text, bool allow_float, NumberLiteral& out) {
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    if (text[1] == 'x' || text[1] == 'X') base = 16;
    if (text[1] == 'o' || text[1] == 'O') base = 8;
    if (text[1] == 'b' || text[1] == 'B') base = 2;
  }
  std::string digits;
  std::size_t size = base == 10 ? 0 : 2;
  size += read_digits(text.substr(size), base, digits);
  if (digits.empty()) return "a number has no digits";

  std::string fraction = digits;
  std::size_t float_size = size;
  if (base == 10 && allow_float) {
    if (text.size() > size + 1 && text[size] == '.' && is_digit(text[size + 1])) {
      fraction.push_back('.');
      float_size = size + 1 + read_digits(text.substr(size + 1), 10, fraction);
      out.is_float = true;
    }
    std::size_t at = float_size;
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
      std::string exponent = "e";
      if (++at < text.size() && (text[at] == '+' || text[at] == '-'))
        exponent.push_back(text[at++]);
      std::string exponent_digits;
      const std::size_t bytes = at < text.size() && is_digit(text[at])
                                    ? read_digits(text.substr(at), 10, exponent_digits)
                                    : 0;
      if (bytes != 0) {
        fraction += exponent + exponent_digits;
        float_size = at + bytes;
        out.is_float = true;
      }
    }
  }
  if (out.is_float) {
    const auto [end, code] =
        std::from_chars(fraction.data(), fraction.data() + fraction.size(), out.number);
    if (code != std::errc() || end != fraction.data() + fraction.size()) {
      return "a float is out of range";
    }
    out.bytes = float_size;
    return nullptr;
  }
  if (base == 10 && digits.size() > 1 && digits[0] == '0' &&
      digits.find_first_not_of('0') != std::string::npos) {
    return "a number begins with 0";
  }
  const auto [end, code] =
      std::from_chars(digits.data(), digits.data() + digits.size(), out.integer, base);
  if (code != std::errc() || end != digits.data() + digits.size()) {
    return "an integer does not fit into 64 bits";
  }
  out.bytes = size;
  return nullptr;
}

namespace {

// \x, \u, \U: exactly `count` hexadecimal digits.
const char* read_hexadecimal(std::string_view text, std::size_t count, std::string& out) {
  if (text.size() < count) return "an escape in a string is cut off";
  char32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const int digit = digit_value(text[i]);
    if (digit >= 16) return "an escape in a string has a wrong digit";
    value = value * 16 + static_cast<char32_t>(digit);
  }
  if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
    return "an escape in a string is not a character";
  }
  append_code_point(value, out);
  return nullptr;
}

}  // namespace

const char* unescape(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    const char c = text[++i];
    const std::size_t from = std::string_view("\\'\"nrtabfv").find(c);
    if (from != std::string_view::npos) {
      out.push_back("\\'\"\n\r\t\a\b\f\v"[from]);
    } else if (c == '\n') {
      // A line end after a backslash is no part of the string.
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      if (const char* problem = read_hexadecimal(text.substr(i + 1), count, out)) return problem;
      i += count;
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      std::size_t size = 0;
      for (; size < 3 && i + size < text.size() && text[i + size] >= '0' && text[i + size] <= '7';
           ++size) {
        value = value * 8 + static_cast<char32_t>(text[i + size] - '0');
      }
      append_code_point(value, out);
      i += size - 1;
    } else if (c == 'N') {
      return "the escape '\\N' in a string is not supported";
    } else {
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return nullptr;
}

}  // namespace onebeat::jinja
