// SPDX-License-Identifier: Apache-2.0
// Python's str.replace(), paid for before it is done.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/values/value.h"

namespace onebeat::jinja {

/// Replaces the first `count` parts, or all if it is negative. An empty `from` is between all
/// characters.
Result<Value> replace_parts(Budget& budget, std::string_view text, std::string_view from,
                            std::string_view to, std::int64_t count);

/// Pays for a search of `part` in `text`, which in the worst case compares every byte with every
/// other.
Status spend_search(Budget& budget, std::string_view text, std::string_view part);

}  // namespace onebeat::jinja
