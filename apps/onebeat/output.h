// SPDX-License-Identifier: Apache-2.0
// Where a command's result goes.
#pragma once

#include <string>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat::cli {

/// Writes `text` to the file, or to standard output if `path` is empty or "-". A regular file is
/// there whole or, after a failure, as it was before. Errors: kUnavailable naming the file and the
/// system's reason.
[[nodiscard]] Status write_output(const std::string& path, std::string_view text);

}  // namespace onebeat::cli
