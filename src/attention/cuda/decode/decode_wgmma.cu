// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_wgmma.cuh"

namespace onebeat::cuda {
namespace {

template <typename S>
DecodeKernel kernel(std::string_view name) {
  return {{name, S::D, S::kTileTokens, kQueryTileRows, S::kSmallPages ? 1 : S::kTokens, S::kThreads,
           S::kSharedBytes},
          reinterpret_cast<const void*>(&decode_wgmma<S>)};
}

}  // namespace

std::span<const DecodeKernel> wgmma_decode_kernels() {
  static const std::array<DecodeKernel, 4> all = {
      kernel<WgmmaShape<128, 64, 3, false>>("wgmma_d128"),
      kernel<WgmmaShape<128, 64, 3, true>>("wgmma_d128_small_pages"),
      kernel<WgmmaShape<64, 128, 3, false>>("wgmma_d64"),
      kernel<WgmmaShape<64, 128, 3, true>>("wgmma_d64_small_pages"),
  };
  return all;
}

}  // namespace onebeat::cuda
