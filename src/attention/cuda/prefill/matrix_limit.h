// SPDX-License-Identifier: Apache-2.0
// How fast this device multiplies matrices: the limit that prefill attention is measured against.
#pragma once

#include <cuda_runtime_api.h>

#include "onebeat/status.h"

namespace onebeat::cuda {

/// Floating-point operations a second of bf16 products whose operands lie in shared memory all the
/// time, on all multiprocessors for some milliseconds; the median of several runs. Nothing that
/// loads its operands can be faster. Synchronises `stream`. Errors: kUnsupported (no Hopper GPU),
/// whatever CUDA reports.
[[nodiscard]] Result<double> measure_matrix_limit(cudaStream_t stream);

}  // namespace onebeat::cuda
