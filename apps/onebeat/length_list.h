// SPDX-License-Identifier: Apache-2.0
// Lengths and head counts as people type them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "onebeat/geometry.h"
#include "onebeat/status.h"

namespace onebeat::cli {

/// "131072,512x31" is one length of 131072 and 31 of 512; spaces are allowed around commas.
/// Errors: kInvalidArgument for anything else, naming the piece; kOutOfRange for a length of more
/// than 32 bits or more than 65,536 lengths.
[[nodiscard]] Result<std::vector<std::int32_t>> parse_length_list(std::string_view text);

/// "32/8" is 32 query heads and 8 KV heads; "32" is 32 of both. Whether the numbers fit is the
/// planner's to say. Errors: kInvalidArgument, kOutOfRange.
[[nodiscard]] Result<HeadCounts> parse_heads(std::string_view text);

}  // namespace onebeat::cli
