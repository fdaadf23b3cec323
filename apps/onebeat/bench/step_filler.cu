// SPDX-License-Identifier: Apache-2.0
#include "bench/step_filler.h"
#include "device/dependent_launch.cuh"

namespace onebeat::cli {
namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kWords = 65536;

/// A few dependent reads of what the kernel before wrote, then one write.
__global__ void __launch_bounds__(kThreads) step_filler(std::uint32_t* words) {
  cuda::wait_for_predecessors();
  cuda::let_dependents_start();
  std::uint32_t at = (blockIdx.x * kThreads + threadIdx.x) % kWords;
  std::uint32_t value = at;
  for (int i = 0; i < 3; ++i) {
    value += __ldcg(words + at);
    at = (at * 5 + value % 7 + 1) % kWords;
  }
  words[(blockIdx.x * kThreads + threadIdx.x) % kWords] = value;
}

}  // namespace

cudaError_t launch_step_filler(std::uint32_t* words, int multiprocessors, bool programmatic,
                               cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(multiprocessors));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  return cudaLaunchKernelEx(&config, step_filler, words);
}

}  // namespace onebeat::cli
