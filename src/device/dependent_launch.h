// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch, the host's side (dependent_launch.cuh has the device's).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace onebeat::cuda {

/// How many of what; a grid of one dimension.
struct LaunchSize {
  unsigned blocks = 1;
  unsigned threads = 32;
  std::size_t shared_bytes = 0;  ///< Dynamic.
};

/// Enqueues a kernel of one argument; `programmatic` lets its blocks start before the kernels ahead
/// of it are complete.
template <typename Params>
[[nodiscard]] cudaError_t launch_kernel(void (*kernel)(Params), const LaunchSize& size,
                                        bool programmatic, cudaStream_t stream,
                                        const Params& params) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(size.blocks);
  config.blockDim = dim3(size.threads);
  config.dynamicSmemBytes = size.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace onebeat::cuda
