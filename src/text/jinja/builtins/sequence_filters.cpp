// SPDX-License-Identifier: Apache-2.0
// Filters that look at lists and dicts as a whole. Where Jinja returns a generator, these return a
// list.
#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "text/jinja/builtins/builtins.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

Result<Value> filter_default(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"default_value", "boolean"}));
  if (!input.is_undefined() && (!args.flag(1) || input.truthy())) return input;
  return args[0] == nullptr ? make_text(machine.budget, "") : Result<Value>(*args[0]);
}

Result<Value> filter_length(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  std::size_t size = 0;
  if (input.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(input.text().size()));
    size = count_characters(input.text());
  } else if (input.is_list()) {
    size = input.list().items.size();
  } else if (input.is_dict()) {
    size = input.dict().items.size();
  } else if (!input.is_undefined()) {
    return invalid_argument("{} has no length", input.type_name());
  }
  return Value::of(static_cast<std::int64_t>(size));
}

// "a.b.0" looks up step by step.
Result<Value> look_up(Budget& budget, Value value, std::string_view path) {
  while (true) {
    const std::size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    std::int64_t index = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part.front() != '-' && code == std::errc() &&
                          end == part.data() + part.size();
    ONEBEAT_ASSIGN_OR_RETURN(value, is_index ? get_item(budget, value, Value::of(index))
                                             : get_attribute(budget, value, part));
    if (dot == std::string_view::npos) return value;
    path.remove_prefix(dot + 1);
  }
}

Result<Value> look_up(Budget& budget, const Value& value, const Value& path) {
  if (path.is_text()) return look_up(budget, value, std::string_view(path.text()));
  return get_item(budget, value, path);
}

Result<Value> filter_join(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"d", "attribute"}));
  std::string separator;
  if (args[0] != nullptr) {
    ONEBEAT_ASSIGN_OR_RETURN(separator, to_text(machine.budget, *args[0]));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, input));
  std::string out;
  bool first = true;
  for (const Value& item : items) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(separator.size()));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.check_text(out.size() + separator.size()));
    if (!std::exchange(first, false)) out += separator;
    Value part = item;
    if (args[1] != nullptr && !args[1]->is_none()) {
      ONEBEAT_ASSIGN_OR_RETURN(part, look_up(machine.budget, item, *args[1]));
    }
    ONEBEAT_RETURN_IF_ERROR(append_text(machine.budget, part, out));
  }
  return make_text(machine.budget, std::move(out));
}

Result<Value> filter_items(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  if (input.is_undefined()) return make_list(machine.budget, {});
  if (!input.is_dict()) return invalid_argument("items needs a dict, not {}", input.type_name());
  return call_method(machine, input, "items", args);
}

Result<Value> filter_list(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate(machine.budget, input));
  return make_list(machine.budget, std::move(items));
}

Result<Value> filter_first(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, input));
  return items.empty() ? Value::undefined("first") : items.front();
}

Result<Value> filter_last(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, input));
  return items.empty() ? Value::undefined("last") : items.back();
}

Result<Value> filter_reverse(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate(machine.budget, input));
  std::reverse(items.begin(), items.end());
  if (!input.is_text()) return make_list(machine.budget, std::move(items));
  std::string out;
  for (const Value& item : items) out += item.text();
  return make_text(machine.budget, std::move(out));
}

// Strings compare without regard to case unless told otherwise.
Result<Value> sort_key(Machine& machine, Value value, const Value* attribute, bool case_sensitive) {
  if (attribute != nullptr && !attribute->is_none()) {
    ONEBEAT_ASSIGN_OR_RETURN(value, look_up(machine.budget, value, *attribute));
  }
  if (!value.is_text() || case_sensitive) return value;
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(value.text().size() * 4));
  return make_text(machine.budget, to_lower(value.text()));
}

struct Keyed {
  Value key;
  Value value;
};

Status sort_by_key(Budget& budget, std::vector<Keyed>& entries, bool reverse) {
  Status failure;
  std::stable_sort(entries.begin(), entries.end(), [&](const Keyed& a, const Keyed& b) {
    if (!failure.ok()) return false;
    const auto result = reverse ? less(budget, b.key, a.key) : less(budget, a.key, b.key);
    if (!result.ok()) failure = result.status();
    return result.ok() && *result;
  });
  return failure;
}

Result<Value> sorted(Machine& machine, std::vector<Value> items, const Value* attribute,
                     bool case_sensitive, bool reverse) {
  std::vector<Keyed> entries;
  for (Value& item : items) {
    ONEBEAT_ASSIGN_OR_RETURN(Value key, sort_key(machine, item, attribute, case_sensitive));
    entries.push_back({std::move(key), std::move(item)});
  }
  ONEBEAT_RETURN_IF_ERROR(sort_by_key(machine.budget, entries, reverse));
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::move(entries[i].value);
  return make_list(machine.budget, std::move(items));
}

Result<Value> filter_sort(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"reverse", "case_sensitive", "attribute"}));
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate(machine.budget, input));
  return sorted(machine, std::move(items), args[2], args.flag(1), args.flag(0));
}

Result<Value> filter_dictsort(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"case_sensitive", "by", "reverse"}));
  std::int64_t place = 0;
  if (args[1] != nullptr) {
    ONEBEAT_ASSIGN_OR_RETURN(const std::string_view by, args.text(1, "'by'"));
    if (by != "key" && by != "value") return invalid_argument("'by' must be 'key' or 'value'");
    place = by == "key" ? 0 : 1;
  }
  Arguments none;
  ONEBEAT_RETURN_IF_ERROR(none.bind({}));
  if (!input.is_dict()) return invalid_argument("dictsort needs a dict, not {}", input.type_name());
  ONEBEAT_ASSIGN_OR_RETURN(const Value pairs, call_method(machine, input, "items", none));
  const Value attribute = Value::of(place);
  return sorted(machine, pairs.list().items, &attribute, args.flag(0), args.flag(2));
}

Result<Value> filter_unique(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"case_sensitive", "attribute"}));
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate(machine.budget, input));
  std::vector<Value> keys;
  std::vector<Value> out;
  for (Value& item : items) {
    ONEBEAT_ASSIGN_OR_RETURN(Value key, sort_key(machine, item, args[1], args.flag(0)));
    if (key.is_dict() || (key.is_list() && !key.list().tuple)) {
      return invalid_argument("unique does not work on {}", key.type_name());
    }
    bool is_new = true;
    for (const Value& seen : keys) {
      ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(machine.budget, seen, key));
      if (equal) is_new = false;
      if (equal) break;
    }
    if (!is_new) continue;
    keys.push_back(std::move(key));
    out.push_back(std::move(item));
  }
  return make_list(machine.budget, std::move(out));
}

template <bool Largest>
Result<Value> filter_extreme(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"case_sensitive", "attribute"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, input));
  if (items.empty()) return Value::undefined(Largest ? "max" : "min");
  Value best = items[0];
  ONEBEAT_ASSIGN_OR_RETURN(Value best_key, sort_key(machine, best, args[1], args.flag(0)));
  for (std::size_t i = 1; i < items.size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(Value key, sort_key(machine, items[i], args[1], args.flag(0)));
    ONEBEAT_ASSIGN_OR_RETURN(const bool better, Largest ? less(machine.budget, best_key, key)
                                                        : less(machine.budget, key, best_key));
    if (!better) continue;
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Result<Value> filter_sum(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"attribute", "start"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, input));
  Value total = args[1] == nullptr ? Value::of(std::int64_t{0}) : *args[1];
  for (const Value& item : items) {
    Value part = item;
    if (args[0] != nullptr && !args[0]->is_none()) {
      ONEBEAT_ASSIGN_OR_RETURN(part, look_up(machine.budget, item, *args[0]));
    }
    ONEBEAT_ASSIGN_OR_RETURN(total, apply_binary(machine.budget, "+", total, part));
  }
  return total;
}

// As Jinja does here: what is false has no elements, even if it is nothing to iterate over.
Result<std::vector<Value>> iterate_if_true(Budget& budget, const Value& value) {
  if (!value.truthy()) return std::vector<Value>();
  return iterate(budget, value);
}

// map(attribute="a.b", default=x), or map("filter", its arguments).
Result<Value> filter_map(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate_if_true(machine.budget, input));
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  if (args.positional.empty()) {
    for (const auto& [name, value] : args.named) {
      if (name != "attribute" && name != "default") {
        return invalid_argument("the argument '{}' is not expected", name.substr(0, 80));
      }
      (name == "attribute" ? attribute : fallback) = &value;
    }
    if (attribute == nullptr) return invalid_argument("map needs a filter or an attribute");
  }
  for (Value& item : items) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend());
    if (attribute != nullptr) {
      ONEBEAT_ASSIGN_OR_RETURN(item, look_up(machine.budget, item, *attribute));
      if (item.is_undefined() && fallback != nullptr) item = *fallback;
      continue;
    }
    const Value& name = args.positional[0];
    const Filter filter = name.is_text() ? find_filter(name.text()) : nullptr;
    if (filter == nullptr) return unsupported("map cannot apply this filter: it is not supported");
    if (filter == filter_map) return unsupported("map inside map is not supported");
    Arguments rest;
    rest.positional.assign(args.positional.begin() + 1, args.positional.end());
    rest.named = args.named;
    ONEBEAT_ASSIGN_OR_RETURN(item, filter(machine, item, rest));
  }
  return make_list(machine.budget, std::move(items));
}

// select, reject, selectattr, rejectattr: keeps what passes a test, or what is true without one.
template <bool Keep, bool OfAttribute>
Result<Value> filter_select(Machine& machine, const Value& input, Arguments& args) {
  constexpr std::size_t kTestPlace = OfAttribute ? 1 : 0;
  if (!args.named.empty()) return unsupported("named arguments are not supported here");
  if (args.positional.size() < kTestPlace) return invalid_argument("an attribute is missing");
  Test test = nullptr;
  if (args.positional.size() > kTestPlace) {
    const Value& name = args.positional[kTestPlace];
    test = name.is_text() ? find_test(name.text()) : nullptr;
    if (test == nullptr) return unsupported("this test is not supported");
  }
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Value> items, iterate_if_true(machine.budget, input));
  std::vector<Value> out;
  for (Value& item : items) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend());
    Value subject = item;
    if constexpr (OfAttribute) {
      ONEBEAT_ASSIGN_OR_RETURN(subject, look_up(machine.budget, item, args.positional[0]));
    }
    bool passes = subject.truthy();
    if (test != nullptr) {
      Arguments rest;
      rest.positional.assign(args.positional.begin() + kTestPlace + 1, args.positional.end());
      ONEBEAT_ASSIGN_OR_RETURN(passes, test(machine, subject, rest));
    }
    if (passes == Keep) out.push_back(std::move(item));
  }
  return make_list(machine.budget, std::move(out));
}

constexpr std::array<std::pair<std::string_view, Filter>, 21> kFilters = {{
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"reverse", filter_reverse},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"unique", filter_unique},
}};

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

}  // namespace onebeat::jinja
