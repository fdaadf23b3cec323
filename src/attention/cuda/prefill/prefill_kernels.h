// SPDX-License-Identifier: Apache-2.0
// The compiled prefill kernels; prefill_boxes.cu and prefill_rows.cu instantiate them,
// prefill_attention.cpp chooses.
#pragma once

#include <span>

#include "attention/cuda/prefill/prefill_params.h"
#include "onebeat/attention_prefill_cuda.h"

namespace onebeat::cuda {

struct PrefillKernel {
  CudaPrefillVariant variant;
  bool boxes = true;               ///< K, V and queries come by tensor maps.
  const void* function = nullptr;  ///< __global__, takes one PrefillParams.
};

[[nodiscard]] std::span<const PrefillKernel> box_prefill_kernels();
[[nodiscard]] std::span<const PrefillKernel> row_prefill_kernels();

/// The kernel of a variant. Requires: an element of cuda_prefill_variants().
[[nodiscard]] const PrefillKernel& prefill_kernel(const CudaPrefillVariant& variant);

}  // namespace onebeat::cuda
