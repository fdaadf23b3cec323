// SPDX-License-Identifier: Apache-2.0
// A stand-in for the layers of a step, so that a benchmark can say what one more launch adds to it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace onebeat::cli {

/// Enqueues one kernel of about two microseconds on every multiprocessor, which depends on the one
/// before it. `words` has room for 65,536 numbers.
[[nodiscard]] cudaError_t launch_step_filler(std::uint32_t* words, int multiprocessors,
                                             bool programmatic, cudaStream_t stream);

}  // namespace onebeat::cli
