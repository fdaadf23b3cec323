// SPDX-License-Identifier: Apache-2.0
// Prefill attention on wgmma. CTAs stay; one warp group loads tiles of K and V into a ring in
// shared memory, the others multiply, 64 query tokens of one head each. KV tiles are done from the
// last to the first, for the last are those that need masks.
#pragma once

#include <cstdint>

#include "attention/cuda/prefill/prefill_load.cuh"
#include "attention/cuda/prefill/prefill_shape.cuh"
#include "attention/cuda/prefill/prefill_sums.cuh"

namespace onebeat::cuda {

/// Warp groups take turns in starting products: each waits for its turn and then gives it to the
/// next one.
template <typename S>
class Turns {
  static constexpr int kFirst = 2;  ///< Named barrier of group 0.

 public:
  __device__ __forceinline__ explicit Turns(int group) : group_(group) {
    if (group == S::kGroups - 1) give();
  }
  __device__ __forceinline__ void wait() const { ptx::named_barrier_sync(kFirst + group_, 256); }
  __device__ __forceinline__ void give() const {
    ptx::named_barrier_arrive(kFirst + (group_ + 1 == S::kGroups ? 0 : group_ + 1), 256);
  }

 private:
  int group_;
};

/// One multiplying warp group.
template <typename S>
__device__ __forceinline__ void multiply_tiles(const PrefillParams& p,
                                               const PrefillMemory<S>& memory, int group, int warp,
                                               int lane) {
  PrefillSums<S> sums(p, lane);
  const Turns<S> turns(group);
  RingStage<S::kStages> k, v;
  std::uint32_t round_q = 0;
  const std::uint32_t q = memory.queries() + group * S::kPanels * 64 * 128;
  const auto release = [lane](std::uint32_t barrier) {
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(barrier);
  };
  const auto await = [](std::uint32_t barrier, std::uint32_t round) {
    ptx::mbarrier_wait(barrier, round);
    if constexpr (!S::kBoxes) ptx::fence_async_proxy();
  };
  while (true) {
    await(memory.q_full(), round_q);
    round_q ^= 1;
    const PrefillTile tile = *memory.tile;
    if (tile.rows == 0) break;
    sums.reset(p, tile, group, warp);
    if (tile.kv_begin == tile.kv_end) {
      release(memory.q_free());
      sums.write(p, tile, group, warp);
      continue;
    }
    std::uint32_t n = tile.kv_end - 1;
    await(memory.k_full(k.stage), k.round);
    sums.start_scores(q, memory.k(k.stage));
    sums.template wait_scores<0>();
    release(memory.k_free(k.stage));
    k.advance();
    sums.soften(n * S::kTileTokens);
    sums.round_weights();
    if (n > tile.kv_begin) await(memory.k_full(k.stage), k.round);
    for (; n > tile.kv_begin; --n) {
      turns.wait();
      sums.start_scores(q, memory.k(k.stage));
      await(memory.v_full(v.stage), v.round);
      sums.start_output(memory.v(v.stage));
      turns.give();
      sums.template wait_scores<1>();
      release(memory.k_free(k.stage));
      k.advance();
      sums.soften((n - 1) * S::kTileTokens);
      if (sums.when_soft(n - 1 > tile.kv_begin)) await(memory.k_full(k.stage), k.round);
      sums.wait_output();
      release(memory.v_free(v.stage));
      v.advance();
      sums.round_weights();
      sums.rescale_output();
    }
    release(memory.q_free());
    await(memory.v_full(v.stage), v.round);
    sums.start_output(memory.v(v.stage));
    sums.wait_output();
    release(memory.v_free(v.stage));
    v.advance();
    sums.write(p, tile, group, warp);
  }
}

template <typename S>
__global__ void __launch_bounds__(S::kThreads, 1)
    prefill_wgmma(const __grid_constant__ PrefillParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const PrefillMemory<S> memory(shared);
  if (threadIdx.x == 0) {
    memory.init_barriers();
    if constexpr (S::kBoxes) {
      ptx::prefetch_tensor_map(&p.q_map);
      ptx::prefetch_tensor_map(&p.k_map);
      ptx::prefetch_tensor_map(&p.v_map);
      ptx::fence_barrier_init();
    }
  }
  __syncthreads();
  ptx::dependency_wait();
  ptx::launch_dependents();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == S::kGroups) {
    ptx::release_registers<S::kLoadRegisters>();
    const int thread = static_cast<int>(threadIdx.x) % 128;
    if (!S::kBoxes || thread < 32) {
      load_tiles<S>(p, memory, thread);
    }
  } else {
    ptx::claim_registers<S::kMultiplyRegisters>();
    multiply_tiles<S>(p, memory, group, static_cast<int>(threadIdx.x) % 128 / 32,
                      static_cast<int>(threadIdx.x) % 32);
  }
}

}  // namespace onebeat::cuda
