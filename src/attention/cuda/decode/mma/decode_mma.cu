// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/mma/decode_mma.cuh"
#include "attention/cuda/decode/mma/mma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> mma_decode_kernels() {
  static const std::array<DecodeKernel, 14> all = {
      mma_kernel<Mma128<Bf16, 8, false>>("mma_d128_r8"),
      mma_kernel<Mma128<Bf16, 8, true>>("mma_d128_r8_small_pages"),
      mma_kernel<Mma128<Bf16, 16, false>>("mma_d128_r16"),
      mma_kernel<Mma128<Bf16, 16, true>>("mma_d128_r16_small_pages"),
      mma_kernel<Mma64<Bf16, 8, false>>("mma_d64_r8"),
      mma_kernel<Mma64<Bf16, 8, true>>("mma_d64_r8_small_pages"),
      mma_kernel<Mma64<Bf16, 16, false>>("mma_d64_r16"),
      mma_kernel<Mma64<Bf16, 16, true>>("mma_d64_r16_small_pages"),
      mma_kernel<Mma96<Bf16, 8, false>>("mma_d96_r8"),
      mma_kernel<Mma96<Bf16, 8, true>>("mma_d96_r8_small_pages"),
      mma_kernel<Mma192<Bf16, 8, false>>("mma_d192_r8"),
      mma_kernel<Mma192<Bf16, 8, true>>("mma_d192_r8_small_pages"),
      mma_kernel<Mma256<Bf16, 8, false>>("mma_d256_r8"),
      mma_kernel<Mma256<Bf16, 8, true>>("mma_d256_r8_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
