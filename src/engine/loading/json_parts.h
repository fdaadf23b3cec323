// SPDX-License-Identifier: Apache-2.0
// How the JSON files of a tokenizer write parts of which there may be none, one or several.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "json/json.h"
#include "onebeat/status.h"

namespace onebeat {

/// The member, or nothing if it is left out or null.
[[nodiscard]] inline std::optional<JsonValue> present(JsonValue object, std::string_view member) {
  const auto found = object.find(member);
  return found && !found->is(JsonKind::kNull) ? found : std::nullopt;
}

/// The parts of a sequence of `member`s, or the one part itself.
[[nodiscard]] inline std::vector<JsonValue> parts_of(JsonValue value, std::string_view member) {
  std::vector<JsonValue> parts;
  const auto list = value.find(member);
  if (!list || !list->is(JsonKind::kArray)) return {value};
  for (std::size_t i = 0; i < list->size(); ++i) parts.push_back(list->at(i));
  return parts;
}

[[nodiscard]] inline Result<std::string_view> type_of(JsonValue part) {
  return part.required<std::string_view>("type");
}

}  // namespace onebeat
