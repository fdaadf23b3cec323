// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "onebeat/compute.h"
#include "ops/weight.h"

namespace onebeat {

/// Row t of `out` becomes row tokens[t] of `table`, expanded to fp32, times `scale`.
/// Errors: kOutOfRange naming the first id that is not in [0, table.rows); nothing is written then.
[[nodiscard]] Status embed_tokens(const WeightView& table, std::span<const std::int32_t> tokens,
                                  CpuIsa isa, Matrix out, float scale = 1.0f);

}  // namespace onebeat
