// SPDX-License-Identifier: Apache-2.0
// Tensor maps: how the copy engine finds boxes of a strided array of 16-bit elements.
#pragma once

#include <cstdint>
#include <span>

#include "attention/cuda/prefill/prefill_params.h"
#include "onebeat/geometry.h"
#include "onebeat/status.h"

namespace onebeat::cuda {

/// One dimension of an array, the innermost first.
struct TensorMapDimension {
  std::int64_t size = 1;
  std::int64_t stride = 1;  ///< Elements; of the innermost one always 1.
  std::int32_t box = 1;     ///< Elements of a box.
};

/// A map of an array of bf16 or fp16 at `data` in device memory, whose boxes lie in shared memory
/// as panels (see wgmma.cuh). What lies beyond the array is read as zeros. Requires: data and
/// strides are multiples of 16 bytes. Errors: kUnavailable (a driver without tensor maps),
/// kInvalidArgument (what the driver refuses).
[[nodiscard]] Result<TensorMap> make_tensor_map(KvType type, const void* data,
                                                std::span<const TensorMapDimension> dimensions);

}  // namespace onebeat::cuda
