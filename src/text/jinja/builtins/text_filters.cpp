// SPDX-License-Identifier: Apache-2.0
// Filters that make or change text. What is no string yet becomes one, as Python prints it.
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "text/jinja/builtins/builtins.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"
#include "text/jinja/values/replace.h"

namespace onebeat::jinja {
namespace {

template <std::string (*Map)(std::string_view)>
Result<Value> map_text(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, to_text(machine.budget, input));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(text.size() * 4));
  return make_text(machine.budget, Map(text));
}

Result<Value> filter_trim(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"chars"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, to_text(machine.budget, input));
  std::optional<std::string_view> set;
  if (args[0] != nullptr && !args[0]->is_none()) {
    ONEBEAT_ASSIGN_OR_RETURN(set, args.text(0, "the characters to trim"));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(text.size() * (set->size() + 1)));
  }
  return make_text(machine.budget, std::string(strip(text, Side::kBoth, set)));
}

Result<Value> filter_string(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  if (input.is_text()) return input;
  ONEBEAT_ASSIGN_OR_RETURN(std::string text, to_text(machine.budget, input));
  return make_text(machine.budget, std::move(text));
}

Result<Value> filter_replace(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"old", "new", "count"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, to_text(machine.budget, input));
  if (args[0] == nullptr || args[1] == nullptr) {
    return invalid_argument("replace needs what to replace and by what");
  }
  ONEBEAT_ASSIGN_OR_RETURN(const std::string from, to_text(machine.budget, *args[0]));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string to, to_text(machine.budget, *args[1]));
  std::int64_t count = -1;
  if (args[2] != nullptr && !args[2]->is_none()) {
    ONEBEAT_ASSIGN_OR_RETURN(count, args.integer(2, "the count", -1));
  }
  return replace_parts(machine.budget, text, from, to, count);
}

Result<Value> filter_indent(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"width", "first", "blank"}));
  if (!input.is_text()) return invalid_argument("{} cannot be indented", input.type_name());
  std::string text = input.text();
  std::string indent(4, ' ');
  if (args[0] != nullptr && args[0]->is_text()) {
    indent = args[0]->text();
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t width, args.integer(0, "the width", 4));
    if (width > 1000) return out_of_range("an indent of {} is too wide; the limit is 1000", width);
    indent.assign(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  text.push_back('\n');  // As Jinja does, so that an end of line keeps its empty line.
  const auto lines = split_lines(text);
  ONEBEAT_RETURN_IF_ERROR(machine.budget.allow_elements(lines.size() / 2));
  ONEBEAT_RETURN_IF_ERROR(
      machine.budget.allow_text(text.size() + lines.size() * (indent.size() + 1)));
  std::string out;
  if (args.flag(1)) out += indent;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) {
      out.push_back('\n');
      if (args.flag(2) || !lines[i].empty()) out += indent;
    }
    out += lines[i];
  }
  return make_text(machine.budget, std::move(out));
}

Result<Value> filter_tojson(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = args.flag(0);
  style.sort_keys = args.flag(3);
  if (args[1] != nullptr && !args[1]->is_none()) {
    style.item_separator.assign(1, ',');
    if (args[1]->is_text()) {
      style.indent = args[1]->text();
    } else {
      ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t width, args.integer(1, "the indent", 0));
      if (width > 1000)
        return out_of_range("an indent of {} is too wide; the limit is 1000", width);
      style.indent = std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
    }
  }
  if (args[2] != nullptr && !args[2]->is_none()) {
    const bool fits = args[2]->is_list() && args[2]->list().items.size() == 2 &&
                      args[2]->list().items[0].is_text() && args[2]->list().items[1].is_text();
    if (!fits) return invalid_argument("the separators must be two strings");
    style.item_separator = args[2]->list().items[0].text();
    style.key_separator = args[2]->list().items[1].text();
  }
  std::string out;
  ONEBEAT_RETURN_IF_ERROR(append_json(machine.budget, input, style, out));
  return make_text(machine.budget, std::move(out));
}

// int(): what cannot be read is the default.
Result<Value> filter_int(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"default"}));
  if (input.is_undefined()) return invalid_argument("an undefined value is no number");
  const Value fallback = args[0] == nullptr ? Value::of(std::int64_t{0}) : *args[0];
  std::int64_t integer = 0;
  if (as_integer(input, integer)) return Value::of(integer);
  double number = 0;
  if (input.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(input.text().size()));
    std::string_view text = strip(input.text(), Side::kBoth, {});
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    const char* end = text.data() + text.size();
    if (const auto [last, code] = std::from_chars(text.data(), end, integer);
        code == std::errc() && last == end) {
      return Value::of(integer);
    }
    if (const auto [last, code] = std::from_chars(text.data(), end, number);
        code != std::errc() || last != end) {
      return fallback;
    }
  } else if (const auto* exact = input.get_if<double>()) {
    number = *exact;
  } else {
    return fallback;
  }
  if (!(number > -9e18 && number < 9e18)) return fallback;
  return Value::of(static_cast<std::int64_t>(number));
}

Result<Value> filter_float(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"default"}));
  if (input.is_undefined()) return invalid_argument("an undefined value is no number");
  double number = 0;
  if (as_double(input, number)) return Value::of(number);
  if (input.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(input.text().size()));
    std::string_view text = strip(input.text(), Side::kBoth, {});
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    const char* end = text.data() + text.size();
    if (const auto [last, code] = std::from_chars(text.data(), end, number);
        code == std::errc() && last == end) {
      return Value::of(number);
    }
  }
  return args[0] == nullptr ? Value::of(0.0) : *args[0];
}

Result<Value> filter_abs(Machine& /*machine*/, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  double number = 0;
  if (!as_double(input, number))
    return invalid_argument("abs does not work on {}", input.type_name());
  std::int64_t integer = 0;
  if (as_integer(input, integer)) return integer < 0 ? negate(input) : Value::of(integer);
  return Value::of(number < 0 ? -number : number);
}

// Nothing is escaped here, so that there is nothing to be marked as safe.
Result<Value> filter_safe(Machine& machine, const Value& input, Arguments& args) {
  return filter_string(machine, input, args);
}

constexpr std::array<std::pair<std::string_view, Filter>, 13> kFilters = {{
    {"abs", filter_abs},
    {"capitalize", map_text<capitalize>},
    {"float", filter_float},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", map_text<to_lower>},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", map_text<title_words>},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"upper", map_text<to_upper>},
}};

}  // namespace

Filter find_text_filter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

Filter find_filter(std::string_view name) {
  const Filter filter = find_text_filter(name);
  return filter != nullptr ? filter : find_sequence_filter(name);
}

}  // namespace onebeat::jinja
