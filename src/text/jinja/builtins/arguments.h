// SPDX-License-Identifier: Apache-2.0
// The arguments of a call, a filter or a test: by position, then by name.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/values/value.h"

namespace onebeat::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;

  /// Puts named arguments into the places of `names`. Errors: kInvalidArgument for a name that is
  /// not there, a place taken twice, or too many arguments.
  Status bind(std::initializer_list<std::string_view> names) {
    places_.assign(names.size(), nullptr);
    if (positional.size() > names.size()) {
      return invalid_argument("{} arguments are given; at most {} are taken", positional.size(),
                              names.size());
    }
    for (std::size_t i = 0; i < positional.size(); ++i) places_[i] = &positional[i];
    for (const auto& [name, value] : named) {
      std::size_t place = 0;
      for (const std::string_view known : names) {
        if (known == name) break;
        ++place;
      }
      if (place == names.size() || places_[place] != nullptr) {
        return invalid_argument("the argument '{}' is not expected", name.substr(0, 80));
      }
      places_[place] = &value;
    }
    return {};
  }
  /// The argument bound to a place, or null.
  [[nodiscard]] const Value* operator[](std::size_t place) const { return places_[place]; }

  /// A bound string. Errors: kInvalidArgument for another type, or none where there is no fallback.
  Result<std::string_view> text(std::size_t place, const char* what) const {
    if (places_[place] == nullptr || !places_[place]->is_text()) {
      return invalid_argument("{} must be a string", what);
    }
    return std::string_view(places_[place]->text());
  }
  /// A bound integer, or `fallback` where none is given.
  Result<std::int64_t> integer(std::size_t place, const char* what, std::int64_t fallback) const {
    std::int64_t value = fallback;
    if (places_[place] == nullptr || as_integer(*places_[place], value)) return value;
    return invalid_argument("{} must be an integer, not {}", what, places_[place]->type_name());
  }
  [[nodiscard]] bool flag(std::size_t place) const {
    return places_[place] != nullptr && places_[place]->truthy();
  }

 private:
  std::vector<const Value*> places_;
};

}  // namespace onebeat::jinja
