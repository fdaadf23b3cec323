// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/operators.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/jinja/values/replace.h"

namespace onebeat::jinja {
namespace {

Status mismatch(std::string_view name, const Value& left, const Value& right) {
  return invalid_argument("'{}' does not work between {} and {}", name, left.type_name(),
                          right.type_name());
}

// Requires numbers.
std::pair<double, double> as_doubles(const Value& left, const Value& right) {
  std::pair<double, double> out;
  if (!as_double(left, out.first) || !as_double(right, out.second)) out = {};
  return out;
}

Result<Value> integer_overflow() {
  return out_of_range("an integer does not fit into 64 bits");
}

Result<Value> binary_integers(std::string_view name, std::int64_t left, std::int64_t right) {
  std::int64_t out = 0;
  if (name == "+")
    return __builtin_add_overflow(left, right, &out) ? integer_overflow() : Value::of(out);
  if (name == "-")
    return __builtin_sub_overflow(left, right, &out) ? integer_overflow() : Value::of(out);
  if (name == "*")
    return __builtin_mul_overflow(left, right, &out) ? integer_overflow() : Value::of(out);
  if (right == 0) return invalid_argument("division by zero");
  if (name == "/") return Value::of(static_cast<double>(left) / static_cast<double>(right));
  if (right == -1) {
    if (name == "%") return Value::of(std::int64_t{0});
    return __builtin_sub_overflow(std::int64_t{0}, left, &out) ? integer_overflow()
                                                               : Value::of(out);
  }
  // Python rounds towards minus infinity, and a remainder has the divisor's sign.
  std::int64_t quotient = left / right;
  std::int64_t remainder = left % right;
  if (remainder != 0 && (remainder < 0) != (right < 0)) {
    --quotient;
    remainder += right;
  }
  return Value::of(name == "//" ? quotient : remainder);
}

Result<Value> binary_doubles(std::string_view name, double left, double right) {
  if (name == "+") return Value::of(left + right);
  if (name == "-") return Value::of(left - right);
  if (name == "*") return Value::of(left * right);
  if (right == 0) return invalid_argument("division by zero");
  if (name == "/") return Value::of(left / right);
  double remainder = std::fmod(left, right);
  if (remainder != 0 && (remainder < 0) != (right < 0)) remainder += right;
  if (remainder == 0) remainder = std::copysign(0.0, right);
  if (name == "%") return Value::of(remainder);
  const double quotient = (left - remainder) / right;
  const double floored = std::floor(quotient);
  return Value::of(quotient - floored > 0.5 ? floored + 1 : floored);
}

// A text or a list, several times.
Result<Value> repeat(Budget& budget, const Value& value, std::int64_t times) {
  const std::size_t size = value.is_text() ? value.text().size() : value.list().items.size();
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  std::uint64_t total = 0;
  if (__builtin_mul_overflow(size, count, &total))
    total = std::numeric_limits<std::uint64_t>::max();
  if (size == 0) total = 0;
  if (value.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(budget.allow_text(total));
    std::string out;
    out.reserve(total);
    while (out.size() < total) out += value.text();
    return make_text(budget, std::move(out));
  }
  ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(total));
  ONEBEAT_RETURN_IF_ERROR(budget.spend(total * 64));
  std::vector<Value> items;
  items.reserve(total);
  while (items.size() < total) {
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  }
  return make_list(budget, std::move(items), value.list().tuple);
}

Result<Value> join_lists(Budget& budget, const List& left, const List& right) {
  const std::size_t total = left.items.size() + right.items.size();
  ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(total));
  ONEBEAT_RETURN_IF_ERROR(budget.spend(total * 64));
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return make_list(budget, std::move(items), left.tuple);
}

bool is_sequence(const Value& value) {
  return value.is_text() || value.is_list();
}

}  // namespace

Result<Value> apply_binary(Budget& budget, std::string_view name, const Value& left,
                           const Value& right) {
  if (left.is_number() && right.is_number()) {
    std::int64_t a = 0;
    std::int64_t b = 0;
    if (as_integer(left, a) && as_integer(right, b)) return binary_integers(name, a, b);
    const auto [x, y] = as_doubles(left, right);
    return binary_doubles(name, x, y);
  }
  for (const Value* value : {&left, &right}) {
    if (const auto* undefined = value->get_if<Undefined>()) {
      return invalid_argument("'{}' is undefined", undefined->name);
    }
  }
  if (name == "+" && left.is_text() && right.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(budget.allow_text(left.text().size() + right.text().size()));
    return make_text(budget, left.text() + right.text());
  }
  if (name == "+" && left.is_list() && right.is_list() && left.list().tuple == right.list().tuple) {
    return join_lists(budget, left.list(), right.list());
  }
  if (name == "*") {
    std::int64_t times = 0;
    if (is_sequence(left) && as_integer(right, times)) return repeat(budget, left, times);
    if (is_sequence(right) && as_integer(left, times)) return repeat(budget, right, times);
  }
  if (name == "%" && left.is_text()) {
    return unsupported("formatting a string with '%' is not supported");
  }
  return mismatch(name, left, right);
}

Result<Value> negate(const Value& value) {
  std::int64_t integer = 0;
  if (as_integer(value, integer)) return binary_integers("-", 0, integer);
  if (const auto* number = value.get_if<double>()) return Value::of(-*number);
  return invalid_argument("'-' does not work before {}", value.type_name());
}

namespace {

Result<bool> equal_dicts(Budget& budget, const Dict& left, const Dict& right) {
  if (left.items.size() != right.items.size()) return false;
  for (const auto& [key, value] : left.items) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend(right.items.size() * 16));
    const Value* other = right.find(key);
    if (other == nullptr) return false;
    ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(budget, value, *other));
    if (!equal) return false;
  }
  return true;
}

}  // namespace

Result<bool> equals(Budget& budget, const Value& left, const Value& right) {
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  if (left.is_number() && right.is_number()) {
    std::int64_t a = 0;
    std::int64_t b = 0;
    if (as_integer(left, a) && as_integer(right, b)) return a == b;
    const auto [x, y] = as_doubles(left, right);
    return x == y;
  }
  if (left.state().index() != right.state().index()) return false;
  if (left.is_text()) {
    if (left.text().size() != right.text().size()) return false;
    ONEBEAT_RETURN_IF_ERROR(budget.spend(left.text().size()));
    return left.text() == right.text();
  }
  if (left.is_dict()) return equal_dicts(budget, left.dict(), right.dict());
  if (left.is_list()) {
    const List& a = left.list();
    const List& b = right.list();
    if (a.tuple != b.tuple || a.items.size() != b.items.size()) return false;
    for (std::size_t i = 0; i < a.items.size(); ++i) {
      ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(budget, a.items[i], b.items[i]));
      if (!equal) return false;
    }
    return true;
  }
  if (const auto* name = left.get_if<Namespace*>()) return *name == *right.get_if<Namespace*>();
  if (const auto* macro = left.get_if<const Statement*>()) {
    return *macro == *right.get_if<const Statement*>();
  }
  if (const auto* function = left.get_if<Function>()) return *function == *right.get_if<Function>();
  return true;  // Both undefined, or both none.
}

Result<bool> less(Budget& budget, const Value& left, const Value& right) {
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  if (left.is_number() && right.is_number()) {
    std::int64_t a = 0;
    std::int64_t b = 0;
    if (as_integer(left, a) && as_integer(right, b)) return a < b;
    const auto [x, y] = as_doubles(left, right);
    return x < y;
  }
  if (left.is_text() && right.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend(std::min(left.text().size(), right.text().size())));
    return left.text() < right.text();  // The order of UTF-8 bytes is that of code points.
  }
  if (left.is_list() && right.is_list() && left.list().tuple == right.list().tuple) {
    const auto& a = left.list().items;
    const auto& b = right.list().items;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
      ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(budget, a[i], b[i]));
      if (!equal) return less(budget, a[i], b[i]);
    }
    return a.size() < b.size();
  }
  return mismatch("<", left, right);
}

Result<bool> contains(Budget& budget, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) return mismatch("in", item, container);
    ONEBEAT_RETURN_IF_ERROR(spend_search(budget, container.text(), item.text()));
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_list()) {
    for (const Value& element : container.list().items) {
      ONEBEAT_ASSIGN_OR_RETURN(const bool equal, equals(budget, element, item));
      if (equal) return true;
    }
    return false;
  }
  if (container.is_dict()) {
    if (!item.is_text()) return false;
    ONEBEAT_RETURN_IF_ERROR(budget.spend(container.dict().items.size() * 16));
    return container.dict().find(item.text()) != nullptr;
  }
  if (container.is_undefined()) return false;
  return mismatch("in", item, container);
}

Result<bool> compare(Budget& budget, std::string_view name, const Value& left, const Value& right) {
  const auto negated = [](Result<bool> result) {
    return result.ok() ? Result<bool>(!*result) : result;
  };
  if (name == "==") return equals(budget, left, right);
  if (name == "!=") return negated(equals(budget, left, right));
  if (name == "in") return contains(budget, right, left);
  if (name == "not in") return negated(contains(budget, right, left));
  if (name == "<") return less(budget, left, right);
  if (name == ">") return less(budget, right, left);
  ONEBEAT_ASSIGN_OR_RETURN(const bool first,
                           name == "<=" ? less(budget, left, right) : less(budget, right, left));
  if (first) return true;
  return equals(budget, left, right);
}

}  // namespace onebeat::jinja
