// SPDX-License-Identifier: Apache-2.0
// How fast this machine's threads read memory: the limit that CPU benchmarks are measured against.
#pragma once

#include <cstddef>

#include "onebeat/status.h"
#include "onebeat/thread_pool.h"

namespace onebeat {

/// GB/s at which `pool` reads a buffer of `bytes`, the best of `passes` passes (others may use the
/// machine too). Takes `bytes` of memory. Errors: kInvalidArgument (less than 1 MB, no pass),
/// kResourceExhausted.
[[nodiscard]] Result<double> measure_read_bandwidth(ThreadPool& pool, std::size_t bytes,
                                                    int passes = 7);

}  // namespace onebeat
