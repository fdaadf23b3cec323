// SPDX-License-Identifier: Apache-2.0
// Memory that exists twice, for two implementations that are to end with the same bytes: one on the
// host, one on the device.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

#include "device/cuda_memory.h"

namespace onebeat::gpu_test {

template <typename T>
[[nodiscard]] T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << to_string(result.status());
  return std::move(result).value();
}

template <typename T>
struct Twin {
  std::vector<T> host;
  DeviceBuffer<T> device;

  Twin() = default;
  /// Both hold `value`.
  Twin(std::size_t size, T value, cudaStream_t stream)
      : host(size, value), device(value_of(DeviceBuffer<T>::allocate(size))) {
    send(stream);
  }

  /// Host to device, in stream order. The host memory is pageable, so CUDA has taken it when this
  /// returns, and it may change.
  void send(cudaStream_t stream) { EXPECT_TRUE(device.upload(host, stream).ok()); }
  void send(std::size_t first, std::size_t count, cudaStream_t stream) {
    EXPECT_EQ(cudaMemcpyAsync(device.data() + first, host.data() + first, count * sizeof(T),
                              cudaMemcpyDefault, stream),
              cudaSuccess);
  }
  [[nodiscard]] std::vector<T> fetch(cudaStream_t stream) const {
    return value_of(device.download(stream));
  }
  /// Whether the device's bytes are the host's.
  [[nodiscard]] bool equal(cudaStream_t stream) const {
    const std::vector<T> got = fetch(stream);
    return std::memcmp(got.data(), host.data(), host.size() * sizeof(T)) == 0;
  }
};

}  // namespace onebeat::gpu_test
