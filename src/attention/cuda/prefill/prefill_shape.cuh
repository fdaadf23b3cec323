// SPDX-License-Identifier: Apache-2.0
// Compile-time shape of a prefill kernel, and its shared memory.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/element.cuh"
#include "attention/cuda/prefill/prefill_params.h"
#include "attention/cuda/prefill/prefill_tiles.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

template <typename Element_, int D_, int kGroups_, int kTileTokens_, int kStages_, bool kBoxes_>
struct PrefillShape {
  using Element = Element_;  ///< Bf16 or F16.
  static constexpr int D = D_;
  static constexpr int kGroups = kGroups_;  ///< Multiplying warp groups, of 64 query tokens each.
  static constexpr int kTileTokens = kTileTokens_;  ///< N
  static constexpr int kStages = kStages_;
  static constexpr bool kBoxes =
      kBoxes_;  ///< K, V and queries come by tensor maps; else row by row.
  static constexpr int kRows = kGroups * 64;
  static constexpr int kThreads = (kGroups + 1) * 128;  ///< The last warp group loads.
  static constexpr int kLoadRegisters = 32;             ///< Of a thread.
  static constexpr int kMultiplyRegisters = 160;        ///< Of a thread.
  /// Threads can claim only what their CTA was started with.
  static constexpr int kStartRegisters = 65536 / kThreads / 8 * 8;
  static_assert(kLoadRegisters + kGroups * kMultiplyRegisters <= (kGroups + 1) * kStartRegisters);

  static constexpr int kPanels = (D + 63) / 64;
  static constexpr int kQueryBytes = kRows * kPanels * 128;
  static constexpr int kTileBytes = kTileTokens * kPanels * 128;  ///< Of K or V.
  static constexpr int kRingBytes = kStages * 2 * kTileBytes;
  static constexpr int kBarriers = 4 * kStages + 3;
  static constexpr int kSharedBytes =
      kQueryBytes + kRingBytes + kBarriers * 8 + static_cast<int>(sizeof(PrefillTile)) + 64;
  static_assert(kSharedBytes <= 227 * 1024);
  static_assert(kTileBytes % 1024 == 0);
};

/// Addresses in shared memory.
template <typename S>
struct PrefillMemory {
  std::uint32_t base;
  PrefillTile* tile;

  __device__ __forceinline__ explicit PrefillMemory(unsigned char* shared)
      : base(ptx::shared_address(shared)),
        tile(reinterpret_cast<PrefillTile*>(shared + S::kQueryBytes + S::kRingBytes +
                                            (S::kBarriers + 1) / 2 * 16)) {}

  [[nodiscard]] __device__ __forceinline__ std::uint32_t queries() const { return base; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k(std::uint32_t stage) const {
    return base + S::kQueryBytes + stage * 2 * S::kTileBytes;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v(std::uint32_t stage) const {
    return k(stage) + S::kTileBytes;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t barrier(std::uint32_t number) const {
    return base + S::kQueryBytes + S::kRingBytes + number * 8;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k_full(std::uint32_t stage) const {
    return barrier(4 * stage);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v_full(std::uint32_t stage) const {
    return barrier(4 * stage + 1);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k_free(std::uint32_t stage) const {
    return barrier(4 * stage + 2);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v_free(std::uint32_t stage) const {
    return barrier(4 * stage + 3);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t q_full() const {
    return barrier(4 * S::kStages);
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t q_free() const {
    return barrier(4 * S::kStages + 1);
  }
  /// Of a V tile that the loading warp has to complete with zeros.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t edge() const {
    return barrier(4 * S::kStages + 2);
  }

  /// By one thread, before any other use.
  __device__ __forceinline__ void init_barriers() const {
    const std::uint32_t loaders = S::kBoxes ? 1 : 128;
    for (std::uint32_t stage = 0; stage < S::kStages; ++stage) {
      ptx::mbarrier_init(k_full(stage), loaders);
      ptx::mbarrier_init(v_full(stage), loaders);
      ptx::mbarrier_init(k_free(stage), S::kGroups * 4);  // every multiplying warp
      ptx::mbarrier_init(v_free(stage), S::kGroups * 4);
    }
    ptx::mbarrier_init(q_full(), S::kBoxes ? 1 : 129);
    ptx::mbarrier_init(q_free(), S::kGroups * 4);
    ptx::mbarrier_init(edge(), 1);
  }
};

/// A place in a ring and how often it went round.
template <int kStages>
struct RingStage {
  std::uint32_t stage = 0, round = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, round ^= 1;
  }
};

}  // namespace onebeat::cuda
