// SPDX-License-Identifier: Apache-2.0
#include "plan_memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "arrays/tensor.h"
#include "errors.h"

#ifdef ONEBEAT_WITH_CUDA
#include <cuda_runtime_api.h>

#include "current_device.h"
#include "device/cuda_status.h"
#endif

namespace onebeat::python {

PlanMemory::PlanMemory(std::size_t bytes, int device) : device_(device) {
  void* data = nullptr;
  if (device == kHost) {
    data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (data == nullptr) throw std::bad_alloc();
    std::memset(data, 0, bytes);  // What a step does not use is written nowhere else.
    owner_.reset(static_cast<std::byte*>(data), [](std::byte* p) { std::free(p); });
  } else {
#ifdef ONEBEAT_WITH_CUDA
    const CurrentDevice current(device);
    raise_if_error(cuda_status(cudaMalloc(&data, bytes), "cudaMalloc of a plan"));
    raise_if_error(cuda_status(cudaMemset(data, 0, bytes), "cudaMemset"));
    owner_.reset(static_cast<std::byte*>(data), [](std::byte* p) { (void)cudaFree(p); });
#endif
  }
  bytes_ = {static_cast<std::byte*>(data), bytes};
}

std::span<const std::byte> PlanMemory::on_host(std::vector<std::max_align_t>& copy,
                                               void* stream) const {
  static_cast<void>(copy);
  static_cast<void>(stream);
#ifdef ONEBEAT_WITH_CUDA
  if (device_ != kHost) {
    copy.resize((bytes_.size() + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
    const CurrentDevice current(device_);
    auto* const on_stream = static_cast<cudaStream_t>(stream);
    raise_if_error(cuda_status(cudaMemcpyAsync(copy.data(), bytes_.data(), bytes_.size(),
                                               cudaMemcpyDeviceToHost, on_stream),
                               "cudaMemcpyAsync"));
    raise_if_error(cuda_status(cudaStreamSynchronize(on_stream), "cudaStreamSynchronize"));
    return std::as_bytes(std::span(copy)).first(bytes_.size());
  }
#endif
  return bytes_;
}

}  // namespace onebeat::python
