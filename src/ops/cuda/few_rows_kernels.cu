// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/few_rows_held.cuh"
#include "ops/cuda/few_rows_kernels.h"
#include "ops/cuda/few_rows_tiles.cuh"
#include "ops/cuda/one_row_stream.cuh"

namespace onebeat::cuda {
namespace {

using few_rows::TileEngine;

template <TileEngine kEngine, int kTileRows, int kStepInputs, int kColumns, int kShared = 113>
constexpr FewRowsKernel tile(std::string_view name, std::string_view family) {
  using Shape = few_rows::TileShape<kEngine, kTileRows, kStepInputs, kColumns, kShared>;
  return {name,
          family,
          kColumns,
          0,
          kTileRows,
          kStepInputs,
          Shape::kThreads,
          Shape::kSharedBytes,
          Shape::kPartialFloats,
          few_rows::tile_kernel<Shape>};
}

template <int kChunks>
constexpr FewRowsKernel stream(std::string_view name) {
  return {name,
          "stream",
          1,
          kChunks * few_rows::kChunkInputs,
          0,
          0,
          few_rows::kStreamThreads,
          few_rows::kStreamSharedBytes,
          0,
          few_rows::stream_kernel<kChunks>};
}

template <int kColumnTiles, int kSteps>
constexpr FewRowsKernel held(std::string_view name) {
  using Product = few_rows::HeldProduct<kColumnTiles, kSteps>;
  return {name,
          "held",
          Product::kColumns,
          kSteps * few_rows::kHeldStepInputs,
          few_rows::kHeldTileRows,
          few_rows::kHeldStepInputs,
          few_rows::kHeldThreads,
          Product::kSharedBytes,
          Product::kPartialFloats,
          few_rows::held_kernel<kColumnTiles, kSteps>};
}

constexpr auto kMma = TileEngine::kMma;
constexpr auto kWgmma = TileEngine::kWgmma;

constexpr FewRowsKernel kKernels[] = {
    stream<1>("stream_k2048"),
    stream<2>("stream_k4096"),
    stream<3>("stream_k6144"),
    stream<4>("stream_k8192"),
    stream<5>("stream_k10240"),
    stream<6>("stream_k12288"),
    stream<7>("stream_k14336"),
    held<1, 2>("held_m8_k1024"),
    held<1, 4>("held_m8_k2048"),
    held<1, 8>("held_m8_k4096"),
    held<2, 2>("held_m16_k1024"),
    held<2, 4>("held_m16_k2048"),
    held<4, 2>("held_m32_k1024"),
    tile<kMma, 16, 512, 4>("mma_r16_m4", "mma_r16"),
    tile<kMma, 16, 512, 8>("mma_r16_m8", "mma_r16"),
    tile<kMma, 32, 256, 4>("mma_r32_m4", "mma_r32"),
    tile<kMma, 32, 256, 8>("mma_r32_m8", "mma_r32"),
    tile<kMma, 32, 256, 16>("mma_r32_m16", "mma_r32"),
    tile<kMma, 64, 128, 4>("mma_r64_m4", "mma_r64"),
    tile<kMma, 64, 128, 8>("mma_r64_m8", "mma_r64"),
    tile<kMma, 64, 128, 16>("mma_r64_m16", "mma_r64"),
    tile<kMma, 64, 128, 32>("mma_r64_m32", "mma_r64"),
    tile<kWgmma, 64, 128, 8>("wgmma_r64_m8", "wgmma_r64"),
    tile<kWgmma, 64, 128, 16>("wgmma_r64_m16", "wgmma_r64"),
    tile<kWgmma, 64, 128, 32>("wgmma_r64_m32", "wgmma_r64"),
    tile<kWgmma, 64, 128, 64>("wgmma_r64_m64", "wgmma_r64"),
    tile<kWgmma, 128, 64, 8>("wgmma_r128_m8", "wgmma_r128"),
    tile<kWgmma, 128, 64, 16>("wgmma_r128_m16", "wgmma_r128"),
    tile<kWgmma, 128, 64, 32>("wgmma_r128_m32", "wgmma_r128"),
    tile<kWgmma, 128, 64, 64>("wgmma_r128_m64", "wgmma_r128"),
#ifdef ONEBEAT_LINEAR_EXPERIMENTS
    tile<kMma, 16, 512, 4, 75>("mma_r16_m4_s75", "mma_r16_s75"),
    tile<kMma, 32, 256, 4, 75>("mma_r32_m4_s75", "mma_r32_s75"),
    tile<kMma, 32, 256, 8, 75>("mma_r32_m8_s75", "mma_r32_s75"),
    tile<kWgmma, 64, 128, 16, 75>("wgmma_r64_m16_s75", "wgmma_r64_s75"),
    tile<kWgmma, 64, 128, 32, 75>("wgmma_r64_m32_s75", "wgmma_r64_s75"),
    tile<kWgmma, 128, 64, 16, 75>("wgmma_r128_m16_s75", "wgmma_r128_s75"),
    tile<kWgmma, 128, 64, 32, 75>("wgmma_r128_m32_s75", "wgmma_r128_s75"),
    tile<kWgmma, 128, 64, 64, 75>("wgmma_r128_m64_s75", "wgmma_r128_s75"),
    tile<kWgmma, 128, 64, 16, 225>("wgmma_r128_m16_s225", "wgmma_r128_s225"),
    tile<kWgmma, 128, 64, 64, 225>("wgmma_r128_m64_s225", "wgmma_r128_s225"),
    tile<kMma, 32, 256, 4, 225>("mma_r32_m4_s225", "mma_r32_s225"),
#endif
};

}  // namespace

std::span<const FewRowsKernel> few_rows_kernels() {
  return kKernels;
}

}  // namespace onebeat::cuda
