// SPDX-License-Identifier: Apache-2.0
// The tile instructions (AMX) of server processors.
#pragma once

namespace onebeat {

/// Whether the processor has AMX for bf16 (and AVX-512 F, BW, VL, DQ and VNNI) and the system lets
/// this process use it; asks the system for its permission at the first call.
[[nodiscard]] bool amx_usable();

}  // namespace onebeat
