// SPDX-License-Identifier: Apache-2.0
// Looking into values: attributes, indices, slices, iteration.
#include <algorithm>
#include <limits>

#include "base/error.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

// The element at a Python index, which counts from the end if it is negative; false beyond the
// ends.
bool place_of(std::int64_t index, std::size_t size, std::size_t& place) {
  const auto length = static_cast<std::int64_t>(size);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return false;
  place = static_cast<std::size_t>(index);
  return true;
}

Result<Value> loop_attribute(const Loop& loop, std::string_view name) {
  const auto size = static_cast<std::int64_t>(loop.items->size());
  const auto index = static_cast<std::int64_t>(loop.index);
  if (name == "index") return Value::of(index + 1);
  if (name == "index0") return Value::of(index);
  if (name == "revindex") return Value::of(size - index);
  if (name == "revindex0") return Value::of(size - index - 1);
  if (name == "first") return Value::of(index == 0);
  if (name == "last") return Value::of(index + 1 == size);
  if (name == "length") return Value::of(size);
  if (name == "depth") return Value::of(std::int64_t{loop.nesting});
  if (name == "depth0") return Value::of(std::int64_t{loop.nesting - 1});
  if (name == "previtem") {
    return index == 0 ? Value::undefined("loop.previtem") : (*loop.items)[loop.index - 1];
  }
  if (name == "nextitem") {
    return index + 1 == size ? Value::undefined("loop.nextitem") : (*loop.items)[loop.index + 1];
  }
  if (name == "cycle" || name == "changed") {
    return unsupported("'loop.{}' is not supported", name);
  }
  return Value::undefined(name);
}

Status undefined_access(const Undefined& value, std::string_view what) {
  return invalid_argument("'{}' is undefined; it has no '{}'", value.name, what.substr(0, 80));
}

}  // namespace

Result<Value> get_attribute(Budget& budget, const Value& object, std::string_view name) {
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  if (const auto* undefined = object.get_if<Undefined>()) return undefined_access(*undefined, name);
  if (object.is_dict()) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend(object.dict().items.size() * 16));
    if (const Value* value = object.dict().find(name)) return *value;
  } else if (const auto* space = object.get_if<Namespace*>()) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend((*space)->items.size() * 16));
    for (const auto& [key, value] : (*space)->items) {
      if (key == name) return value;
    }
  } else if (const auto* loop = object.get_if<const Loop*>()) {
    return loop_attribute(**loop, name);
  }
  return Value::undefined(name);
}

Result<Value> get_item(Budget& budget, const Value& object, const Value& key) {
  if (key.is_text()) return get_attribute(budget, object, key.text());
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  if (const auto* undefined = object.get_if<Undefined>()) return undefined_access(*undefined, "[]");
  std::int64_t index = 0;
  std::size_t place = 0;
  if (as_integer(key, index)) {
    if (object.is_list() && place_of(index, object.list().items.size(), place)) {
      return object.list().items[place];
    }
    if (object.is_text()) {
      ONEBEAT_RETURN_IF_ERROR(budget.spend(object.text().size()));
      if (place_of(index, count_characters(object.text()), place)) {
        std::string_view text = object.text();
        for (; place != 0; --place) text.remove_prefix(first_code_point(text).bytes);
        return make_text(budget, std::string(text.substr(0, first_code_point(text).bytes)));
      }
    }
  }
  return Value::undefined("[]");
}

namespace {

struct Range {
  std::int64_t start;
  std::int64_t step;
  std::size_t count;
};

// Which elements of `size` a slice takes, as Python clips them.
Result<Range> resolve_slice(std::size_t size, const Value& start, const Value& stop,
                            const Value& step) {
  const auto length = static_cast<std::int64_t>(size);
  std::int64_t by = 1;
  if (!step.is_none() && !as_integer(step, by)) return invalid_argument("a slice needs integers");
  if (by == 0) return invalid_argument("the step of a slice is 0");
  by = std::clamp(by, -std::numeric_limits<std::int64_t>::max(),
                  std::numeric_limits<std::int64_t>::max());
  const std::int64_t lowest = by > 0 ? 0 : -1;
  const std::int64_t highest = by > 0 ? length : length - 1;
  const auto clip = [&](const Value& bound, std::int64_t fallback, std::int64_t& out) {
    out = fallback;
    if (bound.is_none()) return true;
    if (!as_integer(bound, out)) return false;
    if (out < 0) out = out < -length ? lowest : out + length;
    out = std::clamp(out, lowest, highest);
    return true;
  };
  std::int64_t from = 0;
  std::int64_t to = 0;
  if (!clip(start, by > 0 ? lowest : highest, from) || !clip(stop, by > 0 ? highest : lowest, to)) {
    return invalid_argument("a slice needs integers");
  }
  std::int64_t count = 0;
  if (by > 0 && from < to) count = (to - from - 1) / by + 1;
  if (by < 0 && from > to) count = (from - to - 1) / -by + 1;
  return Range{from, by, static_cast<std::size_t>(count)};
}

}  // namespace

Result<Value> get_slice(Budget& budget, const Value& object, const Value& start, const Value& stop,
                        const Value& step) {
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  if (object.is_list()) {
    const List& list = object.list();
    ONEBEAT_ASSIGN_OR_RETURN(const Range range,
                             resolve_slice(list.items.size(), start, stop, step));
    ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(range.count));
    ONEBEAT_RETURN_IF_ERROR(budget.spend(range.count * 64));
    std::vector<Value> items;
    items.reserve(range.count);
    std::int64_t at = range.start;
    for (std::size_t i = 0; i < range.count; ++i) {
      items.push_back(list.items[static_cast<std::size_t>(at)]);
      if (i + 1 < range.count) at += range.step;
    }
    return make_list(budget, std::move(items), list.tuple);
  }
  if (object.is_text()) {
    const std::string& text = object.text();
    ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(text.size() / 8));
    ONEBEAT_RETURN_IF_ERROR(budget.spend(text.size() * 8));
    const std::vector<std::size_t> offsets = character_offsets(text);
    ONEBEAT_ASSIGN_OR_RETURN(const Range range,
                             resolve_slice(offsets.size() - 1, start, stop, step));
    std::string out;
    std::int64_t at = range.start;
    for (std::size_t i = 0; i < range.count; ++i) {
      const auto place = static_cast<std::size_t>(at);
      out.append(text, offsets[place], offsets[place + 1] - offsets[place]);
      if (i + 1 < range.count) at += range.step;
    }
    return make_text(budget, std::move(out));
  }
  return invalid_argument("{} cannot be sliced", object.type_name());
}

Result<std::vector<Value>> iterate(Budget& budget, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_list()) {
    ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(value.list().items.size()));
    ONEBEAT_RETURN_IF_ERROR(budget.spend(value.list().items.size() * 64));
    return value.list().items;
  }
  if (value.is_dict()) {
    for (const auto& [key, item] : value.dict().items) {
      ONEBEAT_ASSIGN_OR_RETURN(Value name, make_text(budget, key));
      items.push_back(std::move(name));
    }
    return items;
  }
  if (value.is_text()) {
    std::string_view text = value.text();
    ONEBEAT_RETURN_IF_ERROR(budget.allow_elements(count_characters(text)));
    while (!text.empty()) {
      const std::size_t bytes = first_code_point(text).bytes;
      ONEBEAT_ASSIGN_OR_RETURN(Value character,
                               make_text(budget, std::string(text.substr(0, bytes))));
      items.push_back(std::move(character));
      text.remove_prefix(bytes);
    }
    return items;
  }
  return invalid_argument("{} cannot be iterated over", value.type_name());
}

}  // namespace onebeat::jinja
