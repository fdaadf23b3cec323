// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <array>

#include "attention/cuda/decode/invariant/decode_mma_invariant.cuh"
#include "attention/cuda/decode/invariant/decode_wgmma_invariant.cuh"
#include "attention/cuda/decode/mma/decode_mma.cuh"
#include "attention/cuda/decode/paused_kernels_for_test.h"
#include "attention/cuda/decode/wgmma/decode_wgmma.cuh"
#include "base/check.h"

namespace onebeat {
namespace {

__device__ std::uint32_t pause_seed;

/// At a place, half of the warps go on at once; the others wait for up to 20 us.
struct RandomPause {
  __device__ static void at(std::uint32_t place) {
    std::uint32_t x = pause_seed * 0x9e3779b9u ^ place * 0x85ebca6bu ^
                      (blockIdx.x * 32 + threadIdx.x / 32) * 0xc2b2ae35u;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    if (x % 2 == 0) return;
    const long long end = clock64() + x / 2 % 40000;
    while (clock64() < end) {
    }
  }
};

template <int D, int kTokens, int kParts = 1>
struct PausedMma : cuda::MmaShape<cuda::Bf16, D, kTokens, 4, 3, 8, true, kParts> {
  using Pause = RandomPause;
};

template <int D, int kTileTokens, int kStages = 3>
struct PausedWgmma : cuda::WgmmaShape<cuda::Bf16, D, kTileTokens, kStages, true> {
  using Pause = RandomPause;
};

}  // namespace

std::span<const cuda::DecodeKernel> paused_kernels() {
  using cuda::Invariant;
  static const std::array<cuda::DecodeKernel, 9> all = {
      cuda::mma_kernel<PausedMma<128, 16>>("mma_d128"),
      cuda::mma_kernel<PausedMma<64, 32>>("mma_d64"),
      cuda::mma_kernel<PausedMma<96, 16>>("mma_d96"),
      cuda::mma_kernel<PausedMma<256, 16, 2>>("mma_d256"),
      cuda::wgmma_kernel<PausedWgmma<256, 32, 2>>("wgmma_d256"),
      cuda::wgmma_kernel<PausedWgmma<128, 64>>("wgmma_d128"),
      cuda::wgmma_kernel<PausedWgmma<64, 128>>("wgmma_d64"),
      cuda::mma_invariant_kernel<Invariant<PausedMma<128, 16>>>("mma_d128_invariant"),
      cuda::wgmma_invariant_kernel<Invariant<PausedWgmma<64, 128>>>("wgmma_d64_invariant")};
  return all;
}

void choose_pauses(std::uint32_t seed) {
  ONEBEAT_CHECK(cudaMemcpyToSymbol(pause_seed, &seed, sizeof(seed)) == cudaSuccess);
}

}  // namespace onebeat
