// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "onebeat/status.h"

namespace onebeat {

/// Moves a finished file in so that it is either there whole or not at all, also after a power cut.
/// Both paths are on one file system. Errors: kUnavailable.
[[nodiscard]] Status place_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace onebeat
