// SPDX-License-Identifier: Apache-2.0
// The limits of this very device, measured: what any step is bound by.
#pragma once

#include <cuda_runtime_api.h>

#include "onebeat/status.h"

namespace onebeat {

struct CudaLimits {
  double read_gb_per_s = 0;      ///< Reading memory that no cache holds.
  double copy_gb_per_s = 0;      ///< Copying it: bytes read and written.
  double graph_node_us = 0;      ///< One empty kernel after another in a graph.
  double dependent_node_us = 0;  ///< The same with programmatic dependent launch.
};

/// Takes 2 GB of device memory and about a tenth of a second; synchronises `stream`. Medians of
/// many runs. Errors: kResourceExhausted (memory), whatever CUDA reports.
[[nodiscard]] Result<CudaLimits> measure_cuda_limits(cudaStream_t stream);

}  // namespace onebeat
