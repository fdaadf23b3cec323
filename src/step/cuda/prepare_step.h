// SPDX-License-Identifier: Apache-2.0
// Launches of the prepare kernels; step_preparer.cpp fills the parameters.
#pragma once

#include <cuda_runtime_api.h>

#include "step/cuda/prepare_params.h"

namespace onebeat::cuda {

/// Most workers that the device planner has shared memory for.
inline constexpr std::uint32_t kMostDeviceWorkers = 4096;

/// Lets the kernels use the shared memory that they may need on the current device.
[[nodiscard]] cudaError_t prepare_kernels_setup();

/// Threads of a block that suit a step of this many requests; most_workers is the largest W of its
/// classes, 0 without plans.
[[nodiscard]] std::int32_t prepare_block_threads(std::int32_t num_requests,
                                                 std::int32_t most_workers);

/// Blocks that one multiprocessor holds.
[[nodiscard]] std::int32_t prepare_blocks_per_multiprocessor(std::int32_t block_threads,
                                                             bool plans);

/// Enqueues the one launch of a step. Requires: at least one block.
[[nodiscard]] cudaError_t launch_prepare(const PrepareParams& params, std::int32_t block_threads,
                                         bool programmatic, cudaStream_t stream);

}  // namespace onebeat::cuda
