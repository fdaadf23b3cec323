// SPDX-License-Identifier: Apache-2.0
// The methods of strings, lists and dicts that read; those that write do not exist here.
#include <array>
#include <limits>
#include <utility>

#include "base/error.h"
#include "text/jinja/builtins/builtins.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"
#include "text/jinja/values/replace.h"

namespace onebeat::jinja {
namespace {

using Method = Result<Value> (*)(Machine&, const Value& object, Arguments&);

template <bool AtEnd>
Result<Value> text_starts(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"prefix"}));
  const std::string& text = object.text();
  const auto fits = [&](const Value& part) {
    if (!part.is_text() || part.text().size() > text.size()) return false;
    const std::size_t at = AtEnd ? text.size() - part.text().size() : 0;
    return text.compare(at, part.text().size(), part.text()) == 0;
  };
  if (args[0] != nullptr && args[0]->is_text()) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(args[0]->text().size()));
    return Value::of(fits(*args[0]));
  }
  if (args[0] == nullptr || !args[0]->is_list() || !args[0]->list().tuple) {
    return invalid_argument("a string or a tuple of strings is needed");
  }
  for (const Value& part : args[0]->list().items) {
    if (!part.is_text()) return invalid_argument("a string or a tuple of strings is needed");
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(part.text().size()));
    if (fits(part)) return Value::of(true);
  }
  return Value::of(false);
}

template <Side Where>
Result<Value> text_strip(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"chars"}));
  std::optional<std::string_view> set;
  if (args[0] != nullptr && !args[0]->is_none()) {
    ONEBEAT_ASSIGN_OR_RETURN(set, args.text(0, "the characters to strip"));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(object.text().size() * (set->size() + 1)));
  }
  return make_text(machine.budget, std::string(strip(object.text(), Where, set)));
}

template <bool FromRight>
Result<Value> text_split(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"sep", "maxsplit"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t most, args.integer(1, "the number of splits", -1));
  const std::size_t limit =
      most < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(most);
  const std::string& text = object.text();
  std::vector<std::string_view> parts;
  if (args[0] == nullptr || args[0]->is_none()) {
    if (FromRight && most >= 0) return unsupported("rsplit without a separator is not supported");
    ONEBEAT_RETURN_IF_ERROR(machine.budget.allow_elements(text.size() / 4));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(text.size() * 4));
    parts = split_words(text, limit);
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(const std::string_view separator, args.text(0, "the separator"));
    if (separator.empty()) return invalid_argument("the separator is empty");
    ONEBEAT_RETURN_IF_ERROR(spend_search(machine.budget, text, separator));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.allow_elements(count_parts(text, separator, limit)));
    parts =
        FromRight ? split_parts_right(text, separator, limit) : split_parts(text, separator, limit);
  }
  std::vector<Value> items;
  for (const std::string_view part : parts) {
    ONEBEAT_ASSIGN_OR_RETURN(Value item, make_text(machine.budget, std::string(part)));
    items.push_back(std::move(item));
  }
  return make_list(machine.budget, std::move(items));
}

Result<Value> text_splitlines(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.allow_elements(object.text().size() / 4));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(object.text().size() * 4));
  std::vector<Value> items;
  for (const std::string_view line : split_lines(object.text())) {
    ONEBEAT_ASSIGN_OR_RETURN(Value item, make_text(machine.budget, std::string(line)));
    items.push_back(std::move(item));
  }
  return make_list(machine.budget, std::move(items));
}

Result<Value> text_replace(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"old", "new", "count"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view from, args.text(0, "what to replace"));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view to, args.text(1, "what to replace it by"));
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t count, args.integer(2, "the count", -1));
  return replace_parts(machine.budget, object.text(), from, to, count);
}

template <bool FromRight>
Result<Value> text_find(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"sub"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view part, args.text(0, "what to find"));
  const std::string& text = object.text();
  ONEBEAT_RETURN_IF_ERROR(spend_search(machine.budget, text, part));
  const std::size_t at = FromRight ? text.rfind(part) : text.find(part);
  if (at == std::string::npos) return Value::of(std::int64_t{-1});
  return Value::of(
      static_cast<std::int64_t>(count_characters(std::string_view(text).substr(0, at))));
}

Result<Value> text_index(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_ASSIGN_OR_RETURN(Value place, text_find<false>(machine, object, args));
  if (*place.get_if<std::int64_t>() < 0) return invalid_argument("the part is not in the string");
  return place;
}

Result<Value> text_count(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"sub"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view part, args.text(0, "what to count"));
  ONEBEAT_RETURN_IF_ERROR(spend_search(machine.budget, object.text(), part));
  const std::size_t count =
      part.empty() ? count_characters(object.text()) + 1 : count_parts(object.text(), part);
  return Value::of(static_cast<std::int64_t>(count));
}

template <std::string (*Map)(std::string_view)>
Result<Value> text_map(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(object.text().size() * 4));
  return make_text(machine.budget, Map(object.text()));
}

Result<Value> text_join(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"iterable"}));
  if (args[0] == nullptr) return invalid_argument("join needs a list");
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(machine.budget, *args[0]));
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_text())
      return invalid_argument("join needs strings, not {}", items[i].type_name());
    const std::size_t added = items[i].text().size() + object.text().size();
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(added));
    ONEBEAT_RETURN_IF_ERROR(machine.budget.check_text(out.size() + added));
    if (i != 0) out += object.text();
    out += items[i].text();
  }
  return make_text(machine.budget, std::move(out));
}

template <bool AtEnd>
Result<Value> text_remove(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"part"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view part, args.text(0, "what to remove"));
  ONEBEAT_ASSIGN_OR_RETURN(const Value fits, text_starts<AtEnd>(machine, object, args));
  if (!fits.truthy()) return object;
  const std::string& text = object.text();
  return make_text(machine.budget, text.substr(AtEnd ? 0 : part.size(), text.size() - part.size()));
}

Result<Value> text_isdigit(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(object.text().size()));
  for (const char c : object.text()) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return unsupported("isdigit of characters beyond ASCII is not supported");
    }
    if (c < '0' || c > '9') return Value::of(false);
  }
  return Value::of(!object.text().empty());
}

Result<Value> list_index(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"value"}));
  if (args[0] == nullptr) return invalid_argument("index needs a value");
  const auto& items = object.list().items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(machine.budget, items[i], *args[0]));
    if (equal) return Value::of(static_cast<std::int64_t>(i));
  }
  return invalid_argument("the value is not in the list");
}

Result<Value> list_count(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"value"}));
  if (args[0] == nullptr) return invalid_argument("count needs a value");
  std::int64_t count = 0;
  for (const Value& item : object.list().items) {
    ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(machine.budget, item, *args[0]));
    if (equal) ++count;
  }
  return Value::of(count);
}

Result<Value> dict_get(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"key", "default"}));
  if (args[0] == nullptr) return invalid_argument("get needs a key");
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(object.dict().items.size() * 16));
  const Value* found = args[0]->is_text() ? object.dict().find(args[0]->text()) : nullptr;
  if (found != nullptr) return *found;
  return args[1] == nullptr ? Value() : *args[1];
}

template <bool WithKeys, bool WithValues>
Result<Value> dict_parts(Machine& machine, const Value& object, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  std::vector<Value> out;
  for (const auto& [key, value] : object.dict().items) {
    ONEBEAT_RETURN_IF_ERROR(machine.budget.spend());
    std::vector<Value> pair;
    if constexpr (WithKeys) {
      ONEBEAT_ASSIGN_OR_RETURN(Value name, make_text(machine.budget, key));
      pair.push_back(std::move(name));
    }
    if constexpr (WithValues) pair.push_back(value);
    if constexpr (WithKeys && WithValues) {
      ONEBEAT_ASSIGN_OR_RETURN(Value item, make_list(machine.budget, std::move(pair), true));
      out.push_back(std::move(item));
    } else {
      out.push_back(std::move(pair[0]));
    }
  }
  return make_list(machine.budget, std::move(out));
}

struct Entry {
  std::string_view name;
  Method method;  ///< Null: Python has it, this does not.
};

constexpr std::array kTextMethods = {Entry{"capitalize", text_map<capitalize>},
                                     Entry{"count", text_count},
                                     Entry{"endswith", text_starts<true>},
                                     Entry{"find", text_find<false>},
                                     Entry{"index", text_index},
                                     Entry{"isdigit", text_isdigit},
                                     Entry{"join", text_join},
                                     Entry{"lower", text_map<to_lower>},
                                     Entry{"lstrip", text_strip<Side::kLeft>},
                                     Entry{"removeprefix", text_remove<false>},
                                     Entry{"removesuffix", text_remove<true>},
                                     Entry{"replace", text_replace},
                                     Entry{"rfind", text_find<true>},
                                     Entry{"rsplit", text_split<true>},
                                     Entry{"rstrip", text_strip<Side::kRight>},
                                     Entry{"split", text_split<false>},
                                     Entry{"splitlines", text_splitlines},
                                     Entry{"startswith", text_starts<false>},
                                     Entry{"strip", text_strip<Side::kBoth>},
                                     Entry{"upper", text_map<to_upper>},
                                     Entry{"casefold", nullptr},
                                     Entry{"center", nullptr},
                                     Entry{"encode", nullptr},
                                     Entry{"expandtabs", nullptr},
                                     Entry{"format", nullptr},
                                     Entry{"format_map", nullptr},

                                     Entry{"isalnum", nullptr},
                                     Entry{"isalpha", nullptr},
                                     Entry{"isascii", nullptr},
                                     Entry{"isdecimal", nullptr},
                                     Entry{"isidentifier", nullptr},
                                     Entry{"islower", nullptr},
                                     Entry{"isnumeric", nullptr},
                                     Entry{"isprintable", nullptr},
                                     Entry{"isspace", nullptr},
                                     Entry{"istitle", nullptr},
                                     Entry{"isupper", nullptr},
                                     Entry{"ljust", nullptr},
                                     Entry{"maketrans", nullptr},
                                     Entry{"partition", nullptr},
                                     Entry{"rindex", nullptr},
                                     Entry{"rjust", nullptr},
                                     Entry{"rpartition", nullptr},
                                     Entry{"swapcase", nullptr},
                                     Entry{"title", nullptr},
                                     Entry{"translate", nullptr},
                                     Entry{"zfill", nullptr}};

constexpr std::array kListMethods = {
    Entry{"count", list_count}, Entry{"index", list_index}, Entry{"append", nullptr},
    Entry{"clear", nullptr},    Entry{"copy", nullptr},     Entry{"extend", nullptr},
    Entry{"insert", nullptr},   Entry{"pop", nullptr},      Entry{"remove", nullptr},
    Entry{"reverse", nullptr},  Entry{"sort", nullptr}};

constexpr std::array kDictMethods = {Entry{"get", dict_get},
                                     Entry{"items", dict_parts<true, true>},
                                     Entry{"keys", dict_parts<true, false>},
                                     Entry{"values", dict_parts<false, true>},
                                     Entry{"clear", nullptr},
                                     Entry{"copy", nullptr},
                                     Entry{"fromkeys", nullptr},
                                     Entry{"pop", nullptr},
                                     Entry{"popitem", nullptr},
                                     Entry{"setdefault", nullptr},
                                     Entry{"update", nullptr}};

template <typename Table>
const Entry* find_entry(const Table& table, std::string_view name) {
  for (const Entry& entry : table) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const Entry* find_method(const Value& object, std::string_view name) {
  if (object.is_text()) return find_entry(kTextMethods, name);
  if (object.is_list()) return find_entry(kListMethods, name);
  if (object.is_dict()) return find_entry(kDictMethods, name);
  return nullptr;
}

}  // namespace

bool has_method(const Value& object, std::string_view name) {
  return find_method(object, name) != nullptr;
}

Result<Value> call_method(Machine& machine, const Value& object, std::string_view name,
                          Arguments& args) {
  const Method method = find_method(object, name)->method;
  if (method == nullptr) {
    return unsupported("the method '{}' of {} is not supported", name, object.type_name());
  }
  return method(machine, object, args);
}

}  // namespace onebeat::jinja
