// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/value.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"

namespace onebeat::jinja {

bool Value::truthy() const {
  if (is<Undefined>() || is<None>()) return false;
  if (const bool* flag = get_if<bool>()) return *flag;
  if (const auto* integer = get_if<std::int64_t>()) return *integer != 0;
  if (const auto* number = get_if<double>()) return *number != 0;
  if (is_text()) return !text().empty();
  if (is_list()) return !list().items.empty();
  if (is_dict()) return !dict().items.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (is<Undefined>()) return "an undefined value";
  if (is<None>()) return "none";
  if (is<bool>()) return "a boolean";
  if (is<std::int64_t>()) return "an integer";
  if (is<double>()) return "a float";
  if (is_text()) return "a string";
  if (is_list()) return list().tuple ? "a tuple" : "a list";
  if (is_dict()) return "a dict";
  if (is<Namespace*>()) return "a namespace";
  if (is<const Loop*>()) return "the loop";
  return "a function";
}

int Value::depth() const {
  if (is_list()) return list().depth;
  if (is_dict()) return dict().depth;
  return 0;
}

const Value* Dict::find(std::string_view key) const {
  for (const Item& item : items) {
    if (item.first == key) return &item.second;
  }
  return nullptr;
}

bool as_integer(const Value& value, std::int64_t& integer) {
  if (const bool* flag = value.get_if<bool>()) {
    integer = *flag ? 1 : 0;
    return true;
  }
  if (const auto* number = value.get_if<std::int64_t>()) {
    integer = *number;
    return true;
  }
  return false;
}

bool as_double(const Value& value, double& number) {
  if (const auto* exact = value.get_if<double>()) {
    number = *exact;
    return true;
  }
  std::int64_t integer = 0;
  if (!as_integer(value, integer)) return false;
  number = static_cast<double>(integer);
  return true;
}

Result<Value> make_text(Budget& budget, std::string bytes) {
  ONEBEAT_RETURN_IF_ERROR(budget.allow_text(bytes.size()));
  const std::size_t size = bytes.size() + 64;
  return Value(Value::State(
      std::shared_ptr<const Text>(new Text{std::move(bytes), LedgerEntry(budget.ledger(), size)})));
}

namespace {

Status check_depth(int depth) {
  if (depth > kMaxValueDepth) {
    return resource_exhausted("the template nests a value more than {} deep", kMaxValueDepth);
  }
  return {};
}

}  // namespace

Result<Value> make_list(Budget& budget, std::vector<Value> items, bool tuple) {
  ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(items.size()));
  ONEBEAT_RETURN_IF_ERROR(budget.spend(items.size() * 16));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  ONEBEAT_RETURN_IF_ERROR(check_depth(++depth));
  const std::size_t size = items.size() * sizeof(Value) + 64;
  return Value(Value::State(std::shared_ptr<const List>(
      new List{std::move(items), tuple, depth, LedgerEntry(budget.ledger(), size)})));
}

Result<Value> make_dict(Budget& budget, std::vector<Dict::Item> items) {
  ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(items.size()));
  ONEBEAT_RETURN_IF_ERROR(budget.spend(items.size() * 64));
  std::unordered_map<std::string_view, std::size_t> places;
  places.reserve(items.size());
  std::size_t size = 64;
  std::size_t kept = 0;
  int depth = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    depth = std::max(depth, items[i].second.depth());
    const auto [place, is_new] = places.try_emplace(items[i].first, kept);
    if (!is_new) {
      items[place->second].second = std::move(items[i].second);
      continue;
    }
    size += sizeof(Dict::Item) + items[i].first.size();
    if (i != kept) {
      places.erase(place);  // Its view points to the key that is about to move.
      items[kept] = std::move(items[i]);
      places.emplace(items[kept].first, kept);
    }
    ++kept;
  }
  items.resize(kept);
  ONEBEAT_RETURN_IF_ERROR(check_depth(++depth));
  return Value(Value::State(std::shared_ptr<const Dict>(
      new Dict{std::move(items), depth, LedgerEntry(budget.ledger(), size)})));
}

}  // namespace onebeat::jinja
