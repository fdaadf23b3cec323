// SPDX-License-Identifier: Apache-2.0
#include "bench/step_filler.h"
#include "device/dependent_launch.cuh"

namespace onebeat::cli {
namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kWords = 65536;

// As the attention layers: two CTAs fill a multiprocessor's shared memory. That decides where the
// CTAs of the launch between two layers find a place, and a launch that divides the memory of a
// multiprocessor otherwise than its neighbours waits until that multiprocessor is empty.
constexpr int kSharedBytes = 114960;
constexpr int kBlocksPerMultiprocessor = 2;

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
  cudaError_t error =
      cudaFuncSetAttribute(step_filler, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(step_filler, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared);
  if (error != cudaSuccess) return error;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(kBlocksPerMultiprocessor * multiprocessors));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  return cudaLaunchKernelEx(&config, step_filler, words);
}

}  // namespace onebeat::cli
