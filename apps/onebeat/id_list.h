// SPDX-License-Identifier: Apache-2.0
// Token ids as a JSON list.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::cli {

/// "[1, 2, 3]".
[[nodiscard]] std::string as_json(std::span<const std::int32_t> ids);

/// Reads a JSON list of integers. Errors: kInvalidArgument for other text, kOutOfRange for a number
/// beyond 32 bits.
[[nodiscard]] Result<std::vector<std::int32_t>> parse_id_list(std::string_view text);

}  // namespace onebeat::cli
