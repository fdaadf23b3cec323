// SPDX-License-Identifier: Apache-2.0
// Decode kernels whose warps pause at random places of the arrival protocol, for longer than a
// whole launch takes: CTAs arrive in any order.
#pragma once

#include <cstdint>
#include <span>

#include "attention/cuda/decode/decode_kernels.h"

namespace onebeat {

/// One of each family and head size, for pages of any size, and one of each family for
/// batch-invariant mode.
[[nodiscard]] std::span<const cuda::DecodeKernel> paused_kernels();

/// Chooses where later launches pause, and for how long. Waits for the device.
void choose_pauses(std::uint32_t seed);

}  // namespace onebeat
