// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/invariant/decode_mma_invariant.cuh"
#include "attention/cuda/decode/mma/mma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> mma_invariant_decode_kernels() {
  static const std::array<DecodeKernel, 8> all = {
      mma_invariant_kernel<Invariant<Mma128<Bf16, 8, false>>>("mma_d128_r8_invariant"),
      mma_invariant_kernel<Invariant<Mma128<Bf16, 8, true>>>("mma_d128_r8_small_pages_invariant"),
      mma_invariant_kernel<Invariant<Mma128<Bf16, 16, false>>>("mma_d128_r16_invariant"),
      mma_invariant_kernel<Invariant<Mma128<Bf16, 16, true>>>("mma_d128_r16_small_pages_invariant"),
      mma_invariant_kernel<Invariant<Mma64<Bf16, 8, false>>>("mma_d64_r8_invariant"),
      mma_invariant_kernel<Invariant<Mma64<Bf16, 8, true>>>("mma_d64_r8_small_pages_invariant"),
      mma_invariant_kernel<Invariant<Mma64<Bf16, 16, false>>>("mma_d64_r16_invariant"),
      mma_invariant_kernel<Invariant<Mma64<Bf16, 16, true>>>("mma_d64_r16_small_pages_invariant"),
  };
  return all;
}

}  // namespace onebeat::cuda
