// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/prefill/prefill_kernels.h"

#include <vector>

#include "base/check.h"

namespace onebeat {
namespace cuda {

const PrefillKernel& prefill_kernel(const CudaPrefillVariant& variant) {
  for (const auto kernels : {box_prefill_kernels(), row_prefill_kernels()}) {
    for (const PrefillKernel& kernel : kernels) {
      if (kernel.variant.name == variant.name) return kernel;
    }
  }
  ONEBEAT_CHECK(false);  // not an element of cuda_prefill_variants()
  return box_prefill_kernels().front();
}

}  // namespace cuda

std::span<const CudaPrefillVariant> cuda_prefill_variants() {
  static const std::vector<CudaPrefillVariant> variants = [] {
    std::vector<CudaPrefillVariant> all;
    for (const auto kernels : {cuda::box_prefill_kernels(), cuda::row_prefill_kernels()}) {
      for (const cuda::PrefillKernel& kernel : kernels) all.push_back(kernel.variant);
    }
    return all;
  }();
  return variants;
}

}  // namespace onebeat
