// SPDX-License-Identifier: Apache-2.0
// Launches of the narrow prepare kernels; step_preparer.cpp fills the parameters.
#pragma once

#include <cuda_runtime_api.h>

#include "step/cuda/narrow_params.h"

namespace onebeat::cuda {

/// Kernels by the requests that they take: up to 32, 64, 128 and 256 in the lanes of a warp, up to
/// 1,024 and 4,096 in the threads of a block.
enum class NarrowVariant { kNone, kOneALane, kTwoALane, kFourALane, kEightALane, kMiddle, kLarge };

/// The kernel for a step of this many requests whose classes have at most this many workers; kNone:
/// too many of either.
[[nodiscard]] NarrowVariant narrow_variant(std::int32_t num_requests, std::uint32_t workers);

/// Enqueues the one launch of a step. Requires: a variant other than kNone.
[[nodiscard]] cudaError_t launch_narrow(const NarrowParams& params, NarrowVariant variant,
                                        bool programmatic, cudaStream_t stream);

}  // namespace onebeat::cuda
