// SPDX-License-Identifier: Apache-2.0
// Checksums of a file.
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

/// The name that git gives the file's content: the SHA-1 of a short header and the content, as 40
/// lower-case hexadecimal digits. Errors: as above.
[[nodiscard]] Result<std::string> git_blob_of_file(
    const std::filesystem::path& file, const std::function<bool(std::int64_t)>& progress = {});

}  // namespace onebeat
