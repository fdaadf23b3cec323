// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/replace.h"

#include <limits>

#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {

Status spend_search(Budget& budget, std::string_view text, std::string_view part) {
  const std::size_t comparisons = part.size() > text.size() ? 1 : part.size() / 64 + 1;
  return budget.spend(text.size() * comparisons);
}

Result<Value> replace_parts(Budget& budget, std::string_view text, std::string_view from,
                            std::string_view to, std::int64_t count) {
  ONEBEAT_RETURN_IF_ERROR(spend_search(budget, text, from));
  const std::size_t limit =
      count < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(count);
  const std::size_t parts =
      from.empty() ? std::min(count_characters(text) + 1, limit) : count_parts(text, from, limit);
  ONEBEAT_RETURN_IF_ERROR(budget.allow_text(text.size() - parts * from.size() + parts * to.size()));
  std::string out;
  for (std::size_t i = 0; i < parts; ++i) {
    const std::size_t at = from.empty() ? 0 : text.find(from);
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
    if (from.empty() && !text.empty()) {
      const std::size_t bytes = first_code_point(text).bytes;
      out += text.substr(0, bytes);
      text.remove_prefix(bytes);
    }
  }
  out += text;
  return make_text(budget, std::move(out));
}

}  // namespace onebeat::jinja
