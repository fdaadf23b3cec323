// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_mma.cuh"

namespace onebeat::cuda {
namespace {

template <typename S>
DecodeKernel kernel(std::string_view name) {
  return {{name, S::D, S::kTileTokens, S::kRows, S::kSmallPages ? 1 : S::kTokens, S::kThreads,
           S::kSharedBytes},
          reinterpret_cast<const void*>(&decode_mma<S>)};
}

// Heads of 64 are half as many bytes a token: granules of 32 tokens keep the bytes, and halve what
// is done once a granule.
template <int kRows, bool kSmallPages>
using D64 = MmaShape<64, 32, 4, 3, kRows, kSmallPages>;
template <int kRows, bool kSmallPages>
using D128 = MmaShape<128, 16, 4, 3, kRows, kSmallPages>;

}  // namespace

std::span<const DecodeKernel> mma_decode_kernels() {
  static const std::array<DecodeKernel, 8> all = {
      kernel<D128<8, false>>("mma_d128_r8"),   kernel<D128<8, true>>("mma_d128_r8_small_pages"),
      kernel<D128<16, false>>("mma_d128_r16"), kernel<D128<16, true>>("mma_d128_r16_small_pages"),
      kernel<D64<8, false>>("mma_d64_r8"),     kernel<D64<8, true>>("mma_d64_r8_small_pages"),
      kernel<D64<16, false>>("mma_d64_r16"),   kernel<D64<16, true>>("mma_d64_r16_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
