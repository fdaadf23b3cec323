// SPDX-License-Identifier: Apache-2.0
// What templates can call: filters, tests, methods of strings, lists and dicts, functions. Nothing
// here reaches beyond its arguments, but for the clock of strftime_now.
#pragma once

#include <ctime>
#include <deque>
#include <string_view>

#include "text/jinja/builtins/arguments.h"
#include "text/jinja/values/value.h"

namespace onebeat::jinja {

/// What built-ins share with the evaluator.
struct Machine {
  Budget budget;
  std::tm now = {};                  ///< What strftime_now shows.
  std::deque<Namespace> namespaces;  ///< Owns what namespace() makes, so that cycles cannot leak.
};

using Filter = Result<Value> (*)(Machine&, const Value& input, Arguments&);
using Test = Result<bool> (*)(Machine&, const Value& input, Arguments&);

/// The filter or the test of a name, or null if there is none here.
[[nodiscard]] Filter find_filter(std::string_view name);
[[nodiscard]] Filter find_text_filter(std::string_view name);
[[nodiscard]] Filter find_sequence_filter(std::string_view name);
[[nodiscard]] Test find_test(std::string_view name);

/// Whether Python has this method, supported here or not.
[[nodiscard]] bool has_method(const Value& object, std::string_view name);
/// Errors: kUnsupported for a method that Python has and this does not. Requires: has_method().
Result<Value> call_method(Machine& machine, const Value& object, std::string_view name, Arguments&);

/// Calls a function by name. `raise_exception` is kInvalidArgument with the template's message.
Result<Value> call_function(Machine& machine, Function function, Arguments&);

}  // namespace onebeat::jinja
