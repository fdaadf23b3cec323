// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <array>

#include "attention/cuda/decode/decode_mma.cuh"
#include "attention/cuda/decode/decode_wgmma.cuh"
#include "attention/cuda/decode/paused_kernels_for_test.h"
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

template <int D, int kTokens>
struct PausedMma : cuda::MmaShape<D, kTokens, 4, 3, 8, true> {
  using Pause = RandomPause;
};

template <int D, int kTileTokens>
struct PausedWgmma : cuda::WgmmaShape<D, kTileTokens, 3, true> {
  using Pause = RandomPause;
};

template <typename S>
cuda::DecodeKernel mma(std::string_view name) {
  return {{name, S::D, S::kTileTokens, S::kRows, 1, S::kThreads, S::kSharedBytes},
          reinterpret_cast<const void*>(&cuda::decode_mma<S>)};
}

template <typename S>
cuda::DecodeKernel wgmma(std::string_view name) {
  return {{name, S::D, S::kTileTokens, kQueryTileRows, 1, S::kThreads, S::kSharedBytes},
          reinterpret_cast<const void*>(&cuda::decode_wgmma<S>)};
}

}  // namespace

std::span<const cuda::DecodeKernel> paused_kernels() {
  static const std::array<cuda::DecodeKernel, 4> all = {
      mma<PausedMma<128, 16>>("mma_d128"), mma<PausedMma<64, 32>>("mma_d64"),
      wgmma<PausedWgmma<128, 64>>("wgmma_d128"), wgmma<PausedWgmma<64, 128>>("wgmma_d64")};
  return all;
}

void choose_pauses(std::uint32_t seed) {
  ONEBEAT_CHECK(cudaMemcpyToSymbol(pause_seed, &seed, sizeof(seed)) == cudaSuccess);
}

}  // namespace onebeat
