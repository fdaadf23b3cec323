// SPDX-License-Identifier: Apache-2.0
// What Python's operators do with values. Errors: kInvalidArgument names the types that do not fit.
#pragma once

#include <string_view>

#include "text/jinja/values/value.h"

namespace onebeat::jinja {

/// left `name` right, where name is + - * / // %.
Result<Value> apply_binary(Budget& budget, std::string_view name, const Value& left,
                           const Value& right);
Result<Value> negate(const Value& value);

/// left `name` right, where name is == != < <= > >= in, not in.
Result<bool> compare(Budget& budget, std::string_view name, const Value& left, const Value& right);
Result<bool> equals(Budget& budget, const Value& left, const Value& right);
Result<bool> less(Budget& budget, const Value& left, const Value& right);
Result<bool> contains(Budget& budget, const Value& container, const Value& item);

/// What an attribute or an index finds; undefined where Jinja finds nothing. Errors:
/// kInvalidArgument for looking into an undefined value.
Result<Value> get_item(Budget& budget, const Value& object, const Value& key);
Result<Value> get_attribute(Budget& budget, const Value& object, std::string_view name);
/// object[start:stop:step]; none stands for what is left out.
Result<Value> get_slice(Budget& budget, const Value& object, const Value& start, const Value& stop,
                        const Value& step);

/// What a loop over a value sees: elements, keys, characters, or nothing for an undefined value.
Result<std::vector<Value>> iterate(Budget& budget, const Value& value);

}  // namespace onebeat::jinja
