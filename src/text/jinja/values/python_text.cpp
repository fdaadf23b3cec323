// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

namespace onebeat::jinja {

CodePoint first_code_point(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t value = -1;
  const auto size = static_cast<utf8proc_ssize_t>(std::min<std::size_t>(text.size(), 4));
  const auto bytes =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), size, &value);
  if (bytes <= 0 || value < 0) return {};
  return {static_cast<char32_t>(value), static_cast<std::size_t>(bytes)};
}

void append_code_point(char32_t value, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(value), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
}

bool is_space(char32_t value) {
  if (value < 0x80)
    return value == ' ' || (value >= 9 && value <= 13) || (value >= 28 && value <= 31);
  return value == 0x85 || value == 0xa0 || value == 0x1680 ||
         (value >= 0x2000 && value <= 0x200a) || value == 0x2028 || value == 0x2029 ||
         value == 0x202f || value == 0x205f || value == 0x3000;
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(first_code_point(text).bytes);
  return count;
}

std::vector<std::size_t> character_offsets(std::string_view text) {
  std::vector<std::size_t> offsets;
  offsets.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size(); at += first_code_point(text.substr(at)).bytes) {
    offsets.push_back(at);
  }
  offsets.push_back(text.size());
  return offsets;
}

namespace {

// The character that ends a text that is not empty.
CodePoint last_code_point(std::string_view text) {
  for (std::size_t bytes = 1; bytes <= std::min<std::size_t>(text.size(), 4); ++bytes) {
    const CodePoint candidate = first_code_point(text.substr(text.size() - bytes));
    if (candidate.bytes == bytes && (bytes > 1 || candidate.value < 0x80)) return candidate;
  }
  return {};
}

bool contains(std::string_view set, char32_t value) {
  while (!set.empty()) {
    const CodePoint member = first_code_point(set);
    if (member.value == value) return true;
    set.remove_prefix(member.bytes);
  }
  return false;
}

template <typename Map>
std::string map_characters(std::string_view text, Map&& map) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    if (point.value == 0xfffd) {
      out.append(text.substr(0, point.bytes));  // Bytes that are no character stay as they are.
    } else {
      append_code_point(map(point.value), out);
    }
    text.remove_prefix(point.bytes);
  }
  return out;
}

char32_t upper(char32_t value) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(value)));
}
char32_t lower(char32_t value) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(value)));
}

}  // namespace

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> set) {
  const auto goes = [&](char32_t value) { return set ? contains(*set, value) : is_space(value); };
  if (side != Side::kRight) {
    while (!text.empty()) {
      const CodePoint point = first_code_point(text);
      if (!goes(point.value)) break;
      text.remove_prefix(point.bytes);
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      const CodePoint point = last_code_point(text);
      if (!goes(point.value)) break;
      text.remove_suffix(point.bytes);
    }
  }
  return text;
}

std::string to_upper(std::string_view text) {
  return map_characters(text, upper);
}
std::string to_lower(std::string_view text) {
  return map_characters(text, lower);
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_characters(text, [&](char32_t value) {
    return std::exchange(first, false) ? upper(value) : lower(value);
  });
}

std::string title_words(std::string_view text) {
  bool first = true;
  return map_characters(text, [&](char32_t value) {
    const char32_t out = first ? upper(value) : lower(value);
    first = is_space(value) || value == '-' || value == '(' || value == '[' || value == '{' ||
            value == '<';
    return out;
  });
}

std::size_t count_parts(std::string_view text, std::string_view part, std::size_t limit) {
  std::size_t count = 0;
  for (std::size_t at = 0; count < limit; ++count, at += part.size()) {
    at = text.find(part, at);
    if (at == std::string_view::npos) break;
  }
  return count;
}

std::vector<std::string_view> split_words(std::string_view text, std::size_t limit) {
  std::vector<std::string_view> words;
  for (text = strip(text, Side::kLeft, {}); !text.empty(); text = strip(text, Side::kLeft, {})) {
    if (words.size() == limit) {
      words.push_back(strip(text, Side::kRight, {}));
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const CodePoint point = first_code_point(text.substr(end));
      if (is_space(point.value)) break;
      end += point.bytes;
    }
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

std::vector<std::string_view> split_parts(std::string_view text, std::string_view separator,
                                          std::size_t limit) {
  std::vector<std::string_view> parts;
  while (parts.size() < limit) {
    const std::size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_parts_right(std::string_view text, std::string_view separator,
                                                std::size_t limit) {
  std::vector<std::string_view> parts;
  while (parts.size() < limit) {
    const std::size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text.remove_suffix(text.size() - at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = first_code_point(text.substr(at));
    const bool ends = (point.value >= 10 && point.value <= 13) ||
                      (point.value >= 28 && point.value <= 30) || point.value == 0x85 ||
                      point.value == 0x2028 || point.value == 0x2029;
    if (!ends) {
      at += point.bytes;
      continue;
    }
    lines.push_back(text.substr(begin, at - begin));
    at += point.bytes;
    if (point.value == '\r' && at < text.size() && text[at] == '\n') ++at;
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace onebeat::jinja
