// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/wgmma/decode_wgmma.cuh"
#include "attention/cuda/decode/wgmma/wgmma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> wgmma_decode_kernels() {
  static const std::array<DecodeKernel, 10> all = {
      wgmma_kernel<Wgmma128<Bf16, false>>("wgmma_d128"),
      wgmma_kernel<Wgmma128<Bf16, true>>("wgmma_d128_small_pages"),
      wgmma_kernel<Wgmma64<Bf16, false>>("wgmma_d64"),
      wgmma_kernel<Wgmma64<Bf16, true>>("wgmma_d64_small_pages"),
      wgmma_kernel<Wgmma96<Bf16, false>>("wgmma_d96"),
      wgmma_kernel<Wgmma96<Bf16, true>>("wgmma_d96_small_pages"),
      wgmma_kernel<Wgmma192<Bf16, false>>("wgmma_d192"),
      wgmma_kernel<Wgmma192<Bf16, true>>("wgmma_d192_small_pages"),
      wgmma_kernel<Wgmma256<Bf16, false>>("wgmma_d256"),
      wgmma_kernel<Wgmma256<Bf16, true>>("wgmma_d256_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
