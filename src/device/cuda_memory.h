// SPDX-License-Identifier: Apache-2.0
// Owners of device and pinned host memory. Allocation may synchronise the device: allocate before
// the step loop.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "device/cuda_status.h"

namespace onebeat {

enum class CudaMemoryKind { kDevice, kPinned };

/// `size` elements of T in device or pinned memory, uninitialised. Move-only; moved from: empty.
template <typename T, CudaMemoryKind kind>
class CudaBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  CudaBuffer() = default;
  CudaBuffer(CudaBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  CudaBuffer& operator=(CudaBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  ~CudaBuffer() {
    if (data_ == nullptr) return;
    if constexpr (kind == CudaMemoryKind::kDevice) {
      (void)cudaFree(data_);
    } else {
      (void)cudaFreeHost(data_);
    }
  }

  /// Errors: kResourceExhausted. A size of 0 holds no memory.
  [[nodiscard]] static Result<CudaBuffer> allocate(std::size_t size) {
    CudaBuffer buffer;
    void* data = nullptr;
    if (size > 0) {
      if constexpr (kind == CudaMemoryKind::kDevice) {
        ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMalloc(&data, size * sizeof(T)));
      } else {
        // Mapped, so that kernels may write status words and tokens straight into it.
        ONEBEAT_RETURN_IF_CUDA_ERROR(cudaHostAlloc(&data, size * sizeof(T), cudaHostAllocMapped));
      }
    }
    buffer.data_ = static_cast<T*>(data);
    buffer.size_ = size;
    return Result<CudaBuffer>(std::move(buffer));  // nvcc does not move on its own here
  }

  /// Allocates and copies; synchronises `stream` before it returns.
  [[nodiscard]] static Result<CudaBuffer> copy_of(std::span<const T> values, cudaStream_t stream) {
    ONEBEAT_ASSIGN_OR_RETURN(CudaBuffer buffer, allocate(values.size()));
    ONEBEAT_RETURN_IF_ERROR(buffer.upload(values, stream));
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
    return Result<CudaBuffer>(std::move(buffer));  // nvcc does not move on its own here
  }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t size_bytes() const { return size_ * sizeof(T); }

  /// Copies `values` to the front. Asynchronous if they are pinned; they must live until the stream
  /// has passed.
  [[nodiscard]] Status upload(std::span<const T> values, cudaStream_t stream) {
    return cuda_status(
        cudaMemcpyAsync(data_, values.data(), values.size_bytes(), cudaMemcpyDefault, stream),
        "cudaMemcpyAsync");
  }

  /// Copies everything to the host and waits for it.
  [[nodiscard]] Result<std::vector<T>> download(cudaStream_t stream) const {
    std::vector<T> values(size_);
    ONEBEAT_RETURN_IF_CUDA_ERROR(
        cudaMemcpyAsync(values.data(), data_, size_bytes(), cudaMemcpyDefault, stream));
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
    return values;
  }

  /// Sets every byte, asynchronously on `stream`.
  [[nodiscard]] Status fill_bytes(int byte, cudaStream_t stream) {
    return cuda_status(cudaMemsetAsync(data_, byte, size_bytes(), stream), "cudaMemsetAsync");
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

template <typename T>
using DeviceBuffer = CudaBuffer<T, CudaMemoryKind::kDevice>;
template <typename T>
using PinnedBuffer = CudaBuffer<T, CudaMemoryKind::kPinned>;

}  // namespace onebeat
