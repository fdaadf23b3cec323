// SPDX-License-Identifier: Apache-2.0
// Texts of strangers in messages.
#pragma once

#include <string>
#include <string_view>

namespace onebeat {

/// A text from a file for a message: quoted, control and non-ASCII bytes escaped, cut after 64
/// bytes.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace onebeat
