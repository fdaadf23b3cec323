// SPDX-License-Identifier: Apache-2.0
// Tests: what stands after `is`.
#include <array>
#include <utility>

#include "base/error.h"
#include "text/jinja/builtins/builtins.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

template <bool (*Holds)(const Value&)>
Result<bool> test_type(Machine& /*machine*/, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  return Holds(input);
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_string(const Value& value) {
  return value.is_text();
}
bool is_mapping(const Value& value) {
  return value.is_dict();
}
bool is_sequence(const Value& value) {
  return value.is_text() || value.is_list() || value.is_dict() || value.is_undefined();
}
bool is_number(const Value& value) {
  return value.is_number();
}
bool is_integer(const Value& value) {
  return value.is<std::int64_t>();
}
bool is_float(const Value& value) {
  return value.is<double>();
}
bool is_boolean(const Value& value) {
  return value.is<bool>();
}
bool is_true(const Value& value) {
  return value.is<bool>() && value.truthy();
}
bool is_false(const Value& value) {
  return value.is<bool>() && !value.truthy();
}
bool is_callable(const Value& value) {
  return value.is<Function>() || value.is<const Statement*>() || value.is_undefined();
}

template <bool Odd>
Result<bool> test_parity(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  const Value two = Value::of(std::int64_t{2});
  ONEBEAT_ASSIGN_OR_RETURN(const Value rest, apply_binary(machine.budget, "%", input, two));
  return equals(machine.budget, rest, Value::of(std::int64_t{Odd ? 1 : 0}));
}

Result<bool> test_divisible(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"num"}));
  if (args[0] == nullptr) return invalid_argument("divisibleby needs a number");
  ONEBEAT_ASSIGN_OR_RETURN(const Value rest, apply_binary(machine.budget, "%", input, *args[0]));
  return !rest.truthy();
}

Result<bool> test_sameas(Machine& /*machine*/, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"other"}));
  if (args[0] == nullptr) return invalid_argument("sameas needs a value");
  const Value& other = *args[0];
  if (input.state().index() != other.state().index()) return false;
  if (input.is_none()) return true;
  if (input.is<bool>()) return input.truthy() == other.truthy();
  if (input.is_list()) return &input.list() == &other.list();
  if (input.is_dict()) return &input.dict() == &other.dict();
  if (const auto* space = input.get_if<Namespace*>()) return *space == *other.get_if<Namespace*>();
  // Whether equal numbers or strings are the same object is an accident in Python.
  return unsupported("sameas is supported for none, booleans, lists, dicts and namespaces");
}

// How tests name the comparisons.
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kComparisons = {{
    {"eq", "=="},
    {"equalto", "=="},
    {"ne", "!="},
    {"lt", "<"},
    {"lessthan", "<"},
    {"le", "<="},
    {"gt", ">"},
    {"greaterthan", ">"},
    {"ge", ">="},
    {"in", "in"},
}};

template <std::size_t Comparison>
Result<bool> test_comparison(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({"other"}));
  if (args[0] == nullptr) return invalid_argument("a comparison needs a value");
  return compare(machine.budget, kComparisons[Comparison].second, input, *args[0]);
}

template <std::string (*Map)(std::string_view)>
Result<bool> test_case(Machine& machine, const Value& input, Arguments& args) {
  ONEBEAT_RETURN_IF_ERROR(args.bind({}));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, to_text(machine.budget, input));
  ONEBEAT_RETURN_IF_ERROR(machine.budget.spend(text.size() * 4));
  // Python: cased letters only of this case, and at least one of them.
  return Map(text) == text && (to_upper(text) != text || to_lower(text) != text);
}

constexpr std::array<std::pair<std::string_view, Test>, 30> kTests = {{
    {"boolean", test_type<is_boolean>},
    {"callable", test_type<is_callable>},
    {"defined", test_type<is_defined>},
    {"divisibleby", test_divisible},
    {"even", test_parity<false>},
    {"false", test_type<is_false>},
    {"float", test_type<is_float>},
    {"integer", test_type<is_integer>},
    {"iterable", test_type<is_sequence>},
    {"lower", test_case<to_lower>},
    {"mapping", test_type<is_mapping>},
    {"none", test_type<is_none>},
    {"number", test_type<is_number>},
    {"odd", test_parity<true>},
    {"sameas", test_sameas},
    {"sequence", test_type<is_sequence>},
    {"string", test_type<is_string>},
    {"true", test_type<is_true>},
    {"undefined", test_type<is_undefined>},
    {"upper", test_case<to_upper>},
    {"eq", test_comparison<0>},
    {"equalto", test_comparison<1>},
    {"ne", test_comparison<2>},
    {"lt", test_comparison<3>},
    {"lessthan", test_comparison<4>},
    {"le", test_comparison<5>},
    {"gt", test_comparison<6>},
    {"greaterthan", test_comparison<7>},
    {"ge", test_comparison<8>},
    {"in", test_comparison<9>},
}};

}  // namespace

Test find_test(std::string_view name) {
  for (const auto& [known, test] : kTests) {
    if (known == name && !name.empty()) return test;
  }
  return nullptr;
}

}  // namespace onebeat::jinja
