// SPDX-License-Identifier: Apache-2.0
// Where a command's text comes from.
#pragma once

#include <string>

#include "onebeat/status.h"

namespace onebeat::cli {

/// The bytes of a file, or of standard input for "-". Errors: kNotFound, kUnavailable, naming the
/// file.
[[nodiscard]] Result<std::string> read_input(const std::string& path);

}  // namespace onebeat::cli
