// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/decode/decode_kernels.h"

#include <array>
#include <vector>

namespace onebeat::cuda {
namespace {

std::array<std::span<const DecodeKernel>, 7> decode_kernels() {
  return {mma_decode_kernels(),
          mma_f16_decode_kernels(),
          mma_f8_decode_kernels(),
          wgmma_decode_kernels(),
          wgmma_f16_decode_kernels(),
          mma_invariant_decode_kernels(),
          wgmma_invariant_decode_kernels()};
}

}  // namespace

std::span<const CudaAttentionVariant> decode_variants() {
  static const std::vector<CudaAttentionVariant> variants = [] {
    std::vector<CudaAttentionVariant> all;
    for (const auto kernels : decode_kernels()) {
      for (const DecodeKernel& kernel : kernels) all.push_back(kernel.variant);
    }
    return all;
  }();
  return variants;
}

const void* decode_function(const CudaAttentionVariant& variant) {
  for (const auto kernels : decode_kernels()) {
    for (const DecodeKernel& kernel : kernels) {
      if (kernel.variant.name == variant.name) return kernel.function;
    }
  }
  return nullptr;
}

}  // namespace onebeat::cuda
