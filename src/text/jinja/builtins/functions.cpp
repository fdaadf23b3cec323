// SPDX-License-Identifier: Apache-2.0
// The functions that templates know by name.
#include <array>

#include "base/error.h"
#include "text/jinja/builtins/builtins.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"

namespace onebeat::jinja {
namespace {

// As many numbers as Jinja's sandbox allows.
constexpr std::int64_t kMaxRange = 100'000;

Result<Value> make_range(Machine& machine, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"start", "stop", "step"}));
  if (args[0] == nullptr) return invalid_argument("range needs a number");
  ONEBEAT_ASSIGN_OR_RETURN(std::int64_t start, args.integer(0, "the start of a range", 0));
  ONEBEAT_ASSIGN_OR_RETURN(std::int64_t stop, args.integer(1, "the end of a range", 0));
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t step, args.integer(2, "the step of a range", 1));
  if (args[1] == nullptr) stop = std::exchange(start, 0);
  if (step == 0) return invalid_argument("the step of a range is 0");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() == kMaxRange) {
      return resource_exhausted("a range has more than {} numbers", kMaxRange);
    }
    items.push_back(Value::of(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(items.size() * 64));
  return make_list(machine.budget, std::move(items));
}

// The entries of dict(...) and namespace(...): perhaps a dict, then named values.
Result<std::vector<Dict::Item>> take_items(const Arguments& args) {
  std::vector<Dict::Item> items;
  if (args.positional.size() > 1) return invalid_argument("at most one argument has no name");
  if (!args.positional.empty()) {
    if (!args.positional[0].is_dict()) {
      return invalid_argument("a dict is needed, not {}", args.positional[0].type_name());
    }
    items = args.positional[0].dict().items;
  }
  for (const auto& [name, value] : args.named) items.emplace_back(std::string(name), value);
  return items;
}

Result<Value> make_namespace(Machine& machine, Arguments& args) {
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Dict::Item> items, take_items(args));
  // Through a dict, which sees to equal names.
  ONEBEAT_ASSIGN_OR_RETURN(const Value dict, make_dict(machine.budget, std::move(items)));
  if (machine.namespaces.size() >= 10'000) {
    return resource_exhausted("the template makes more than 10000 namespaces");
  }
  ONEBEAT_RETURN_IF_ERROR(machine.budget.keep(dict.dict().items.size() * 96 + 64));
  machine.namespaces.push_back({dict.dict().items});
  return Value(Value::State(&machine.namespaces.back()));
}

Result<Value> raise(Machine& machine, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"message"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text,
                           args[0] == nullptr ? std::string() : to_text(machine.budget, *args[0]));
  return invalid_argument("the template refuses these messages: {}",
                          std::string_view(text).substr(0, 1000));
}

Result<Value> show_time(Machine& machine, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"format"}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view format, args.text(0, "the format of a time"));
  if (format.size() > 200)
    return out_of_range("the format of a time has {} bytes; the limit is 200", format.size());
  std::array<char, 8192> buffer{};
  // Widths such as %9999d are a C library's own; without them 200 bytes of format cannot fill the
  // buffer.
  for (std::size_t at = format.find('%'); at != std::string_view::npos;
       at = format.find('%', at + 2)) {
    const char c = at + 1 < format.size() ? format[at + 1] : '\0';
    if (c == '\0' ||
        std::string_view("aAbBcdHIjmMpSUwWxXyYZzeDFTR%").find(c) == std::string_view::npos) {
      return unsupported("the time format '{}' is not supported", format);
    }
  }
  const std::string terminated(format);
  const std::size_t size =
      std::strftime(buffer.data(), buffer.size(), terminated.c_str(), &machine.now);
  return make_text(machine.budget, std::string(buffer.data(), size));
}

}  // namespace

Result<Value> call_function(Machine& machine, Function function, Arguments& args) {
  switch (function) {
    case Function::kNamespace:
      return make_namespace(machine, args);
    case Function::kRange:
      return make_range(machine, args);
    case Function::kDict: {
      ONEBEAT_ASSIGN_OR_RETURN(std::vector<Dict::Item> items, take_items(args));
      return make_dict(machine.budget, std::move(items));
    }
    case Function::kRaiseException:
      return raise(machine, args);
    case Function::kStrftimeNow:
      return show_time(machine, args);
  }
  return internal_error("an unknown function");
}

}  // namespace onebeat::jinja
