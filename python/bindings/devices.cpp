// SPDX-License-Identifier: Apache-2.0
#include "devices.h"

#include <fmt/format.h>

#include <charconv>

#include "arrays/tensor.h"
#include "errors.h"

#ifdef ONEBEAT_WITH_CUDA
#include <cuda_runtime_api.h>

#include "device/cuda_status.h"
#endif

namespace nb = nanobind;

namespace onebeat::python {
namespace {

/// Workers of a plan for the CPU. Its threads share them, however many there are.
constexpr std::int32_t kCpuWorkers = 64;

#ifdef ONEBEAT_WITH_CUDA
std::int32_t multiprocessors_of(int device) {
  int count = 0;
  raise_if_error(cuda_status(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
                             "cudaDeviceGetAttribute"));
  return count;
}
#endif

}  // namespace

int device_number(nb::handle device) {
  const std::string text = nb::str(device).c_str();
  if (text == "cpu") return kHost;
  std::string_view number = text;
  if (number == "cuda") number = "0";
  if (number.substr(0, 5) == "cuda:") number.remove_prefix(5);
  int value = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size() || value < 0) {
    raise_error("InvalidArgumentError",
                fmt::format("device is '{}'; it must be 'cpu', 'cuda' or 'cuda:N'", text));
  }
#ifdef ONEBEAT_WITH_CUDA
  return value;
#else
  raise_error(
      "UnavailableError",
      fmt::format(
          "device is '{}', but this build of onebeat has no CUDA code; install it where nvcc is",
          text));
#endif
}

std::string device_text(int device) {
  return device == kHost ? "cpu" : fmt::format("cuda:{}", device);
}

CudaAttentionTuning tuning_of(std::int32_t head_dim, KvType kv_type, int device) {
#ifdef ONEBEAT_WITH_CUDA
  if (device != kHost)
    return value_or_raise(cuda_attention_tuning(head_dim, kv_type, multiprocessors_of(device)));
#endif
  static_cast<void>(head_dim);
  static_cast<void>(kv_type);
  static_cast<void>(device);
  CudaAttentionTuning tuning;
  tuning.workers = kCpuWorkers;
  return tuning;
}

}  // namespace onebeat::python
