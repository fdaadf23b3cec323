// SPDX-License-Identifier: Apache-2.0
// Which of the kernels written for x86 instruction sets this machine can run.
#pragma once

#include <vector>

#include "onebeat/compute.h"

#if defined(__x86_64__)
#define ONEBEAT_X86 1
/// Compiles one function for an instruction set that the rest of its file does not assume.
#define ONEBEAT_TARGET(features) __attribute__((target(features)))
#else
#define ONEBEAT_X86 0
#endif

namespace onebeat {

/// Whether this machine, and this build, can run kernels for `isa`.
[[nodiscard]] bool supports(CpuIsa isa);
/// The best of those that supports() accepts.
[[nodiscard]] CpuIsa best_isa();
/// All that supports() accepts, the portable one first.
[[nodiscard]] std::vector<CpuIsa> supported_isas();

}  // namespace onebeat
