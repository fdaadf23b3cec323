// SPDX-License-Identifier: Apache-2.0
// Text as JSON writes it.
#pragma once

#include <string>
#include <string_view>

namespace onebeat {

/// `text` in quotes with what JSON demands escaped. Bytes that are not UTF-8 become U+FFFD, one for
/// each byte.
[[nodiscard]] std::string json_quoted(std::string_view text);

}  // namespace onebeat
