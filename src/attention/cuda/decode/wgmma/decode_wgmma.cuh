// SPDX-License-Identifier: Apache-2.0
// Decode attention on wgmma: up to 64 query rows in one pass over the cache. One warp group copies
// K and V into a ring in shared memory, another one multiplies; barriers of the ring's stages are
// all that they share.
#pragma once

#include <cstdint>
#include <string_view>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/kv_stream.cuh"
#include "attention/cuda/decode/merge.cuh"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/decode/wgmma/wgmma_pass.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// What one of the copying warps loads of a tile at a time: consecutive rows of the tile's panels.
template <int D, int kTokens_, int kTileTokens>
struct PanelGranule {
  static constexpr RowFetch kFetch = RowFetch::kBlocks;
  using Tile = Panels<D, kTileTokens>;
  static constexpr int kTokens = kTokens_;
  static constexpr int kElementBytes = 2;
  static constexpr int kRowBytes = D * kElementBytes;
  static constexpr int kRowPitch = Tile::kRowPitch;
  __host__ __device__ static constexpr int k_swizzle(int row) { return row & 7; }
  __host__ __device__ static constexpr int v_swizzle(int row) { return row & 7; }
  __device__ __forceinline__ static std::uint32_t place(int row, int segment, int /*swizzle*/) {
    return Tile::place(row, segment);
  }
  __device__ __forceinline__ static std::uint32_t block(std::uint32_t place, int index) {
    return Tile::block(place, index);
  }
};

/// What all threads of a CTA read now and then: in shared memory, to leave registers to the
/// products.
struct Common {
  Share share;
  std::uint32_t stamp;
  std::uint32_t flag;
};

/// Compile-time shape of a variant.
template <typename Element_, int D_, int kTileTokens_, int kStages_, bool kSmallPages_>
struct WgmmaShape {
  using Element = Element_;
  static constexpr int D = D_;
  static constexpr int kTileTokens = kTileTokens_;
  static constexpr int kStages = kStages_;
  static constexpr bool kSmallPages = kSmallPages_;
  using Pause = NoPause;
  static constexpr int kTileShift = kTileTokens == 32 ? 5 : kTileTokens == 64 ? 6 : 7;
  static_assert(1 << kTileShift == kTileTokens);
  static constexpr int kGroupThreads = 128;  ///< The first multiply, the others copy.
  static constexpr int kThreads = 2 * kGroupThreads;
  static constexpr int kTokens = kTileTokens / 4;  ///< Of a copying warp.
  /// Of a thread; both together 256.
  static constexpr int kCopyRegisters = D == 256 ? 56 : D == 192 ? 64 : D == 64 ? 80 : 88;
  static constexpr int kMultiplyRegisters = 256 - kCopyRegisters;

  // Shared memory: ring, queries, barriers.
  using KvGranule = PanelGranule<D, kTokens, kTileTokens>;
  static constexpr int kOperandBytes = Panels<D, kTileTokens>::kBytes;
  static constexpr int kStageBytes = 2 * kOperandBytes;  // K, then V
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kQueryBytes = Panels<D, kQueryTileRows>::kBytes;
  static constexpr int kBarrierBytes = 4 * kStages * 8;
  static constexpr int kSharedBytes = kRingBytes + kQueryBytes + kBarrierBytes + sizeof(Common);
  static_assert(2 * (kSharedBytes + 1024) <= 228 * 1024, "two CTAs share a multiprocessor");
};

/// A place in the ring and how often it went round.
template <typename S>
struct RingPlace {
  std::uint32_t ring, barriers;
  std::uint32_t stage = 0, round = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == S::kStages) stage = 0, round ^= 1;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k() const {
    return ring + stage * S::kStageBytes;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v() const {
    return k() + S::kOperandBytes;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k_full() const {
    return barriers + stage * 32;
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v_full() const { return k_full() + 8; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t k_free() const { return k_full() + 16; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t v_free() const { return k_full() + 24; }
};

/// The copying warp group.
template <typename S>
__device__ __forceinline__ void copy_kv(const DecodeParams& p, const Share& share,
                                        RingPlace<S> place, int warp, int lane) {
  bool waited = p.early_loads == 0;
  KvStream<typename S::KvGranule, S::kTileShift, kQueryTileRows, S::kSmallPages> stream(p, share,
                                                                                        warp, lane);
  const std::uint32_t first_row = warp * S::kTokens * S::KvGranule::kRowPitch;
  while (stream.open()) {
    if (!waited && stream.holds_new_tokens()) {
      stream.prefetch();
      ptx::dependency_wait();
      waited = true;
    }
    ptx::mbarrier_wait(place.k_free(), place.round ^ 1);
    stream.load_k(place.k() + first_row);
    ptx::mbarrier_arrive_behind_copies(place.k_full());
    ptx::mbarrier_wait(place.v_free(), place.round ^ 1);
    stream.load_v(place.v() + first_row);
    ptx::mbarrier_arrive_behind_copies(place.v_full());
    stream.advance();
    place.advance();
  }
  if (!waited) ptx::dependency_wait();
  if (stream.faults() != 0) atomicOr(p.status, stream.faults());
  ptx::copy_async_commit();
  ptx::copy_async_wait<0>();
}

/// The multiplying warp group.
template <typename S>
__device__ __forceinline__ void attend(const DecodeParams& p, const Share& share,
                                       RingPlace<S> place, std::uint32_t queries,
                                       std::uint32_t* flag, int warp, int lane) {
  using Walk = UnitWalk<S::kTileShift>;
  const std::uint32_t worker = blockIdx.x;
  Walk unit;
  unit.begin(p, share);
  WgmmaPass<typename S::Element, S::D, S::kTileTokens> sums(p, lane);
  QueryPanels<S::D> q;
  const auto release = [lane](std::uint32_t barrier) {
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(barrier);
  };
  bool started = false;
  do {
    const bool continues = unit.is_continuation(share);
    const bool partial = continues || unit.is_left_open(share);
    const std::uint32_t slot = 2 * worker + (continues ? 0 : 1);
    q.locate(p, unit, warp, lane);
    sums.reset();
    if (!started) {  // as late as possible: all that needs no result of the kernel before is done
      S::Pause::at(0);
      if (p.early_loads != 0) ptx::dependency_wait();
      started = true;
      q.copy(p, queries, warp, lane);
      ptx::launch_dependents();
    } else {
      ptx::barrier_sync<S::kGroupThreads>();  // nobody reads the queries of the last unit
      q.copy(p, queries, warp, lane);
    }
    ptx::barrier_sync<S::kGroupThreads>();
    if (unit.tile_begin < unit.tile_end) {
      ptx::mbarrier_wait(place.k_full(), place.round);
      ptx::fence_async_proxy();
      sums.start_scores(queries, place.k());
      sums.wait();
      release(place.k_free());
      for (std::uint32_t tile = unit.tile_begin;; ++tile) {
        sums.shape_scores(q, tile << S::kTileShift);
        sums.soften();
        ptx::mbarrier_wait(place.v_full(), place.round);
        ptx::fence_async_proxy();
        sums.start_output(place.v());
        const std::uint32_t v_free = place.v_free();
        place.advance();
        if (tile + 1 == unit.tile_end) {
          sums.wait();
          release(v_free);
          break;
        }
        ptx::mbarrier_wait(place.k_full(), place.round);
        ptx::fence_async_proxy();
        sums.start_scores(queries, place.k());
        sums.wait();
        release(v_free);
        release(place.k_free());
      }
    }

    const std::uint32_t row = sums.row(warp);
    const bool live = row < unit.rows;
    if (partial) {
      const Scratch<S::D> scratch{p};
      sums.publish([&](float maximum, float sum) {
        if (live && lane % 4 < 2) __stcg(scratch.stats(slot, row), make_float2(maximum, sum));
        return [&, to = scratch.outputs(slot, live ? row : 0, 0)](std::uint32_t column,
                                                                  float4 output) {
          if (live) __stcg(to + column / 4, output);
        };
      });
      const std::uint32_t owner = continues ? share.continued_owner : worker;
      const std::uint32_t partials = continues ? share.continued_partials : share.started_partials;
      arrive_and_merge<S, S::kGroupThreads>(p, unit, gridDim.x, owner, worker - owner, partials,
                                            flag);
    } else {
      sums.publish([&](float maximum, float sum) {
        return
            [&, to = FinishedRow<typename S::Element, Walk>(p, unit, live ? row : 0, maximum, sum)](
                std::uint32_t column, float4 output) {
              if (live) to.write(column, output);
            };
      });
    }
  } while (unit.next(p, share));
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 2)
    decode_wgmma(const __grid_constant__ DecodeParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const std::uint32_t base = ptx::shared_address(shared);
  const RingPlace<S> place{base, base + S::kRingBytes + S::kQueryBytes};
  auto& common =
      *reinterpret_cast<Common*>(shared + S::kRingBytes + S::kQueryBytes + S::kBarrierBytes);
  const int warp = threadIdx.x % S::kGroupThreads / 32;
  const int lane = threadIdx.x % 32;

  if (p.early_loads == 0) ptx::dependency_wait();
  if (threadIdx.x == 0) {
    common.stamp = load_share(p.workers + blockIdx.x, common.share);
    for (std::uint32_t stage = 0; stage < S::kStages; ++stage) {
      const std::uint32_t barriers = place.barriers + stage * 32;
      ptx::mbarrier_init(barriers, S::kGroupThreads);  // every copying thread
      ptx::mbarrier_init(barriers + 8, S::kGroupThreads);
      ptx::mbarrier_init(barriers + 16, S::kGroupThreads / 32);  // every multiplying warp
      ptx::mbarrier_init(barriers + 24, S::kGroupThreads / 32);
    }
  }
  __syncthreads();
  if (common.stamp != p.stamp) {  // idle, or a plan for another geometry
    if (p.early_loads != 0) ptx::dependency_wait();
    ptx::launch_dependents();
    if (common.stamp != 0 && threadIdx.x == 0) atomicOr(p.status, kFaultBitPlan);
    return;
  }
  if (threadIdx.x >= S::kGroupThreads) {
    ptx::release_registers<S::kCopyRegisters>();
    copy_kv<S>(p, common.share, place, warp, lane);
  } else {
    ptx::claim_registers<S::kMultiplyRegisters>();
    attend<S>(p, common.share, place, base + S::kRingBytes, &common.flag, warp, lane);
  }
}

/// The kernel of a shape, and what is known of it.
template <typename S>
[[nodiscard]] DecodeKernel wgmma_kernel(std::string_view name) {
  return {{name, S::D, S::Element::kKvType, S::kTileTokens, kQueryTileRows,
           S::kSmallPages ? 1 : S::kTokens, S::kThreads, S::kSharedBytes},
          reinterpret_cast<const void*>(&decode_wgmma<S>)};
}

}  // namespace onebeat::cuda
