// SPDX-License-Identifier: Apache-2.0
// Values as text: as Python prints them, and as JSON.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/values/value.h"

namespace onebeat::jinja {

/// Appends str(value) as Python has it. Errors: kUnsupported for functions and namespaces; the
/// budget's.
Status append_text(Budget& budget, const Value& value, std::string& out);
/// The same as a string of its own.
Result<std::string> to_text(Budget& budget, const Value& value);
/// Python's repr() of a float: the fewest digits that read back as the same number.
[[nodiscard]] std::string float_text(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  ///< One level of it; lines are broken if it is given.
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// Appends a value as Python's json.dumps() does. Errors: kInvalidArgument for what JSON cannot
/// hold.
Status append_json(Budget& budget, const Value& value, const JsonStyle& style, std::string& out);

/// Reads JSON. Errors: kInvalidArgument with the byte; the budget's.
Result<Value> read_json(Budget& budget, std::string_view text);

}  // namespace onebeat::jinja
