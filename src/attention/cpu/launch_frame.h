// SPDX-License-Identifier: Apache-2.0
// What every CPU launch does before and after its work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/cpu/kernels.h"
#include "onebeat/attention.h"
#include "onebeat/thread_pool.h"

namespace onebeat::cpu {

/// Makes each thread's workspace before any of them needs it. Errors: kResourceExhausted.
[[nodiscard]] Status reserve_workspaces(ThreadPool& pool, std::size_t bytes);

/// Fills the report and turns faults into kOutOfRange.
[[nodiscard]] Status report_faults(std::uint32_t faults, const KernelTable& kernels,
                                   AttentionReport* report);

}  // namespace onebeat::cpu
