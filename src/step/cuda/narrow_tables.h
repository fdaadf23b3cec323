// SPDX-License-Identifier: Apache-2.0
// Launches of the narrow table kernels; step_preparer.cpp fills the parameters.
#pragma once

#include <cuda_runtime_api.h>

#include "step/cuda/prepare_params.h"

namespace onebeat::cuda {

/// Whether a step whose tables' rows have at most this many columns is of their kind.
[[nodiscard]] bool takes_narrow_tables(const PrepareParams& params, std::int64_t most_columns);

/// Enqueues the one launch of such a step; no row has more than `most_columns`. Fills
/// TableWork::chunks_per_row itself.
[[nodiscard]] cudaError_t launch_narrow_tables(const TableParams& params, std::int64_t most_columns,
                                               std::int32_t multiprocessors, bool programmatic,
                                               cudaStream_t stream);

}  // namespace onebeat::cuda
