// SPDX-License-Identifier: Apache-2.0
// The values of block types whose products are taken in fp32 alone, in plain C++.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace onebeat {

/// Expands a row of kQ5_0, kQ5_1, kQ4_K, kQ5_K or kQ6_K blocks to fp32, with the roundings of the
/// format's definition: scales are multiplied out first, then d * q, then the minimum is taken off.
/// Requires: one of these types, cols a multiple of its block.
void expand_packed_row(WeightType type, const std::byte* row, std::int64_t cols, float* out);

}  // namespace onebeat
