// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/wgmma/decode_wgmma.cuh"
#include "attention/cuda/decode/wgmma/wgmma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> wgmma_f16_decode_kernels() {
  static const std::array<DecodeKernel, 10> all = {
      wgmma_kernel<Wgmma128<F16, false>>("wgmma_d128_f16"),
      wgmma_kernel<Wgmma128<F16, true>>("wgmma_d128_f16_small_pages"),
      wgmma_kernel<Wgmma64<F16, false>>("wgmma_d64_f16"),
      wgmma_kernel<Wgmma64<F16, true>>("wgmma_d64_f16_small_pages"),
      wgmma_kernel<Wgmma96<F16, false>>("wgmma_d96_f16"),
      wgmma_kernel<Wgmma96<F16, true>>("wgmma_d96_f16_small_pages"),
      wgmma_kernel<Wgmma192<F16, false>>("wgmma_d192_f16"),
      wgmma_kernel<Wgmma192<F16, true>>("wgmma_d192_f16_small_pages"),
      wgmma_kernel<Wgmma256<F16, false>>("wgmma_d256_f16"),
      wgmma_kernel<Wgmma256<F16, true>>("wgmma_d256_f16_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
