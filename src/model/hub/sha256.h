// SPDX-License-Identifier: Apache-2.0
// SHA-256 of a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "onebeat/status.h"

namespace onebeat {

/// The file's SHA-256 as 64 lower-case hexadecimal digits. `progress` (may be empty) hears the
/// bytes done now and then and stops the work by returning false. Errors: kUnavailable if the file
/// cannot be read, kCancelled.
[[nodiscard]] Result<std::string> sha256_of_file(
    const std::filesystem::path& file, const std::function<bool(std::int64_t)>& progress = {});

}  // namespace onebeat
