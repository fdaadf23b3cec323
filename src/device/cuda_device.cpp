// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_device.h"

#include <cuda_runtime_api.h>

#include "base/error.h"
#include "device/cuda_status.h"

namespace onebeat {

Result<CudaDeviceFacts> use_cuda_device(int device) {
  int count = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDeviceCount(&count));
  if (device < 0 || device >= count) {
    return unavailable("device cuda:{} does not exist; this machine has {}", device, count);
  }
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaSetDevice(device));
  cudaDeviceProp properties{};
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDeviceProperties(&properties, device));
  CudaDeviceFacts facts;
  facts.name = properties.name;
  facts.compute_major = properties.major;
  facts.compute_minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  facts.shared_bytes_per_block = properties.sharedMemPerBlockOptin;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&facts.memory_free_bytes, &facts.memory_bytes));
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaDriverGetVersion(&facts.driver_version));
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaRuntimeGetVersion(&facts.runtime_version));
  return facts;
}

}  // namespace onebeat
