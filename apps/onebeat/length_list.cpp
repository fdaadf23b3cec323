// SPDX-License-Identifier: Apache-2.0
#include "length_list.h"

#include <charconv>
#include <cstddef>
#include <string>
#include <system_error>

#include "base/error.h"

namespace onebeat::cli {
namespace {

constexpr std::int32_t kMaxLengths = 65'536;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<std::int32_t> parse_number(std::string_view text) {
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) {
    return invalid_argument("'{}' is not a whole number", text);
  }
  if (error == std::errc::result_out_of_range) {
    return out_of_range("{} is beyond the largest length, 2147483647", text);
  }
  return number;
}

}  // namespace

Result<std::vector<std::int32_t>> parse_length_list(std::string_view text) {
  std::vector<std::int32_t> lengths;
  for (bool more = true; more;) {
    const std::size_t comma = text.find(',');
    const std::string_view piece = trimmed(text.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);

    const std::size_t times = piece.find('x');
    ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t length, parse_number(piece.substr(0, times)));
    std::int32_t count = 1;
    if (times != std::string_view::npos) {
      ONEBEAT_ASSIGN_OR_RETURN(count, parse_number(piece.substr(times + 1)));
      if (count < 1)
        return invalid_argument("'{}' repeats a length {} times; at least 1 is needed", piece,
                                count);
    }
    if (count > kMaxLengths - static_cast<std::int32_t>(lengths.size())) {
      return out_of_range("more than {} lengths: a plan takes at most that many requests",
                          kMaxLengths);
    }
    lengths.insert(lengths.end(), static_cast<std::size_t>(count), length);
  }
  return lengths;
}

Result<HeadCounts> parse_heads(std::string_view text) {
  const std::size_t slash = text.find('/');
  HeadCounts heads;
  ONEBEAT_ASSIGN_OR_RETURN(heads.num_heads, parse_number(text.substr(0, slash)));
  heads.num_kv_heads = heads.num_heads;
  if (slash != std::string_view::npos) {
    ONEBEAT_ASSIGN_OR_RETURN(heads.num_kv_heads, parse_number(text.substr(slash + 1)));
  }
  return heads;
}

}  // namespace onebeat::cli
