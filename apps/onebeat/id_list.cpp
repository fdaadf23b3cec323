// SPDX-License-Identifier: Apache-2.0
#include "id_list.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/error.h"

namespace onebeat::cli {
namespace {

std::string_view without_spaces(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace

std::string as_json(std::span<const std::int32_t> ids) {
  std::string text = "[";
  for (const std::int32_t id : ids) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(id);
  }
  return text + "]";
}

Result<std::vector<std::int32_t>> parse_id_list(std::string_view text) {
  const char* const start = text.data();
  const auto bad = [&](std::string_view at, std::string_view wanted) {
    return invalid_argument(
        "{} is needed at byte {} of the list of token ids, which looks like [1, 2, 3]", wanted,
        at.empty() ? text.size() : static_cast<std::size_t>(at.data() - start));
  };
  std::vector<std::int32_t> ids;
  std::string_view rest = without_spaces(text);
  if (rest.empty() || rest[0] != '[') return bad(rest, "'['");
  rest = without_spaces(rest.substr(1));
  const bool empty = !rest.empty() && rest[0] == ']';
  for (bool more = !empty; more;) {
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), id);
    const auto length = static_cast<std::size_t>(end - rest.data());
    if (error == std::errc::result_out_of_range) {
      return out_of_range("token id {} is beyond 32 bits",
                          rest.substr(0, std::min<std::size_t>(length, 32)));
    }
    if (error != std::errc()) return bad(rest, "a number");
    ids.push_back(id);
    rest = without_spaces(rest.substr(length));
    more = !rest.empty() && rest[0] == ',';
    if (more) rest = without_spaces(rest.substr(1));
  }
  if (rest.empty() || rest[0] != ']') return bad(rest, "',' or ']'");
  rest = without_spaces(rest.substr(1));
  if (!rest.empty()) return bad(rest, "nothing more");
  return ids;
}

}  // namespace onebeat::cli
