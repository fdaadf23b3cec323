// SPDX-License-Identifier: Apache-2.0
// Many query rows over an fp16 or bf16 cache, with the tile instructions (AMX) of server
// processors.
#pragma once

#include "attention/cpu/kernels.h"

namespace onebeat::cpu {

/// Whether this step is worth tiles, and of a shape that they take.
[[nodiscard]] constexpr bool amx_takes(std::int32_t rows, std::int32_t dim, std::int32_t dim_v) {
  return rows > 8 && dim % 32 == 0 && dim_v % 32 == 0;
}

/// Arranges query rows for the functions below. Requires amx_usable().
void amx_arrange_queries(const float* q, std::int32_t rows, std::int32_t dim, void* to);

/// KernelTable::attend_f16, attend_bf16. Require amx_usable(), amx_takes(), StepInput::tiles.
void amx_attend_f16(const StepInput& in);
void amx_attend_bf16(const StepInput& in);

}  // namespace onebeat::cpu
