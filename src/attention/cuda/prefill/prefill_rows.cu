// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/prefill/prefill_instances.cuh"

namespace onebeat::cuda {

std::span<const PrefillKernel> row_prefill_kernels() {
  static const std::array<PrefillKernel, 2> all = {
      prefill_kernel_of<PrefillShape<Bf16, 64, 3, 128, 2, false>>("rows_d64"),
      prefill_kernel_of<PrefillShape<F16, 64, 3, 128, 2, false>>("rows_d64_f16"),
  };
  return all;
}

}  // namespace onebeat::cuda
