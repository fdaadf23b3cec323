// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/invariant/decode_wgmma_invariant.cuh"
#include "attention/cuda/decode/wgmma/wgmma_shapes.cuh"

namespace onebeat::cuda {

std::span<const DecodeKernel> wgmma_invariant_decode_kernels() {
  static const std::array<DecodeKernel, 4> all = {
      wgmma_invariant_kernel<Invariant<Wgmma128<Bf16, false>>>("wgmma_d128_invariant"),
      wgmma_invariant_kernel<Invariant<Wgmma128<Bf16, true>>>("wgmma_d128_small_pages_invariant"),
      wgmma_invariant_kernel<Invariant<Wgmma64<Bf16, false>>>("wgmma_d64_invariant"),
      wgmma_invariant_kernel<Invariant<Wgmma64<Bf16, true>>>("wgmma_d64_small_pages_invariant"),
  };
  return all;
}

}  // namespace onebeat::cuda
