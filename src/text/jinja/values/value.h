// SPDX-License-Identifier: Apache-2.0
// The values of templates: immutable, shared, and never in a cycle. Only namespaces can be changed;
// they belong to the evaluator, and values merely point to them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/values/budget.h"

namespace onebeat::jinja {

class Value;
struct Loop;
struct Namespace;
struct Statement;

/// A name that stands for nothing: prints as nothing, is false, and cannot be looked into.
struct Undefined {
  std::string name;  ///< What was looked up, for messages.
};
/// Python's None.
struct None {};
/// The callables that templates know by name.
enum class Function : std::uint8_t { kNamespace, kRange, kDict, kRaiseException, kStrftimeNow };

struct Text {
  std::string bytes;
  LedgerEntry entry;
};
struct List;
struct Dict;

/// One value. Copies are cheap: they share what is long.
class Value {
 public:
  using State =
      std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
                   const Loop*, Function, const Statement*>;

  Value() : state_(None{}) {}
  explicit Value(State state) : state_(std::move(state)) {}
  static Value undefined(std::string_view name) {
    return Value(State(std::in_place_type<Undefined>, Undefined{std::string(name.substr(0, 80))}));
  }
  static Value of(bool value) { return Value(State(value)); }
  static Value of(std::int64_t value) { return Value(State(value)); }
  static Value of(double value) { return Value(State(value)); }
  /// A text that is not counted: for literals of the template.
  static Value literal(std::string bytes) {
    return Value(State(std::shared_ptr<const Text>(new Text{std::move(bytes), LedgerEntry()})));
  }

  template <typename T>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<T>(state_);
  }
  template <typename T>
  [[nodiscard]] const T* get_if() const {
    return std::get_if<T>(&state_);
  }
  [[nodiscard]] bool is_undefined() const { return is<Undefined>(); }
  [[nodiscard]] bool is_none() const { return is<None>(); }
  [[nodiscard]] bool is_text() const { return is<std::shared_ptr<const Text>>(); }
  [[nodiscard]] bool is_list() const { return is<std::shared_ptr<const List>>(); }
  [[nodiscard]] bool is_dict() const { return is<std::shared_ptr<const Dict>>(); }
  [[nodiscard]] bool is_number() const { return is<bool>() || is<std::int64_t>() || is<double>(); }
  /// Requires: is_text(), is_list(), is_dict().
  [[nodiscard]] const std::string& text() const {
    return (*get_if<std::shared_ptr<const Text>>())->bytes;
  }
  [[nodiscard]] const List& list() const { return **get_if<std::shared_ptr<const List>>(); }
  [[nodiscard]] const Dict& dict() const { return **get_if<std::shared_ptr<const Dict>>(); }
  [[nodiscard]] const State& state() const { return state_; }

  /// Python's truth of a value.
  [[nodiscard]] bool truthy() const;
  /// The name of its type as messages use it: "a string", "a list".
  [[nodiscard]] std::string_view type_name() const;
  /// How deep it is nested: 0 for what holds no other values.
  [[nodiscard]] int depth() const;

 private:
  State state_;
};

/// A list, or a tuple, which differs in how it prints and compares.
struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
  LedgerEntry entry;
};

/// A dict with string keys, in the order of insertion.
struct Dict {
  using Item = std::pair<std::string, Value>;
  std::vector<Item> items;
  int depth = 1;
  LedgerEntry entry;

  [[nodiscard]] const Value* find(std::string_view key) const;
};

/// What `namespace(...)` makes.
struct Namespace {
  std::vector<Dict::Item> items;
};

/// The state behind the name `loop`.
struct Loop {
  const std::vector<Value>* items = nullptr;
  std::size_t index = 0;
  int nesting = 1;
};

/// An integer as Python sees it: booleans are 0 and 1. False for other types.
[[nodiscard]] bool as_integer(const Value& value, std::int64_t& integer);
/// A number as a double. False for other types.
[[nodiscard]] bool as_double(const Value& value, double& number);

/// Makes counted values; errors are those of the budget, and kResourceExhausted for nesting.
Result<Value> make_text(Budget& budget, std::string bytes);
Result<Value> make_list(Budget& budget, std::vector<Value> items, bool tuple = false);
/// Of equal keys the last wins, in the place of the first, as in Python.
Result<Value> make_dict(Budget& budget, std::vector<Dict::Item> items);

}  // namespace onebeat::jinja
