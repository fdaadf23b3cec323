// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/prefill/prefill_instances.cuh"

namespace onebeat::cuda {

std::span<const PrefillKernel> box_prefill_kernels() {
  static const std::array<PrefillKernel, 3> all = {
      prefill_kernel_of<PrefillShape<Bf16, 128, 3, 64, 4, true>>("boxes_d128"),
      prefill_kernel_of<PrefillShape<Bf16, 64, 3, 128, 2, true>>("boxes_d64"),
      prefill_kernel_of<PrefillShape<F16, 64, 3, 128, 2, true>>("boxes_d64_f16"),
  };
  return all;
}

}  // namespace onebeat::cuda
