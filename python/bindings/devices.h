// SPDX-License-Identifier: Apache-2.0
// Names of devices.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

#include "onebeat/attention_cuda.h"

namespace onebeat::python {

/// "cpu", "cuda" (device 0), "cuda:1", a number or torch.device: kHost or a CUDA device's number.
/// Throws InvalidArgumentError, or UnavailableError if this build has no CUDA.
[[nodiscard]] int device_number(nanobind::handle device);

/// "cpu" or "cuda:1".
[[nodiscard]] std::string device_text(int device);

/// Tile, workers and costs of heads of `head_dim` and a cache of this type on this device.
[[nodiscard]] CudaAttentionTuning tuning_of(std::int32_t head_dim, KvType kv_type, int device);

}  // namespace onebeat::python
