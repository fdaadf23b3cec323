// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/mma/decode_mma.cuh"
#include "attention/cuda/decode/mma/mma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> mma_f8_decode_kernels() {
  static const std::array<DecodeKernel, 8> all = {
      mma_kernel<Mma128F8<8, false>>("mma_d128_r8_f8"),
      mma_kernel<Mma128F8<8, true>>("mma_d128_r8_f8_small_pages"),
      mma_kernel<Mma128F8<16, false>>("mma_d128_r16_f8"),
      mma_kernel<Mma128F8<16, true>>("mma_d128_r16_f8_small_pages"),
      mma_kernel<Mma64F8<8, false>>("mma_d64_r8_f8"),
      mma_kernel<Mma64F8<8, true>>("mma_d64_r8_f8_small_pages"),
      mma_kernel<Mma64F8<16, false>>("mma_d64_r16_f8"),
      mma_kernel<Mma64F8<16, true>>("mma_d64_r16_f8_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
