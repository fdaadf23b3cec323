// SPDX-License-Identifier: Apache-2.0
// The loading warp group of a prefill kernel: takes tiles, and fills the ring of K and V tiles and
// the panels of queries. It runs ahead of the products, into the next tile.
#pragma once

#include <cstdint>
#include <type_traits>

#include "attention/cuda/prefill/prefill_shape.cuh"

namespace onebeat::cuda {

/// Where the pages of a request are.
class PageRow {
 public:
  __device__ __forceinline__ void enter(const PrefillParams& p, std::uint32_t request,
                                        std::uint32_t& faults) {
    std::uint32_t row = request;
    if (p.row_of != nullptr) row = static_cast<std::uint32_t>(p.row_of[request]);
    if (row >= p.num_rows) {
      row = p.num_rows - 1;
      faults |= kPrefillFaultPageRow;
    }
    row_ = p.pages + row * p.row_stride;
  }
  /// Requires: a token below num_columns * P.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t raw(const PrefillParams& p,
                                                             std::uint32_t token) const {
    return static_cast<std::uint32_t>(row_[token >> p.page_shift]);
  }

 private:
  const std::int32_t* row_ = nullptr;
};

__device__ __forceinline__ std::uint32_t clamped_page(const PrefillParams& p, std::uint32_t page,
                                                      std::uint32_t& faults) {
  if (page < p.num_pages) return page;
  faults |= kPrefillFaultPageId;
  return p.num_pages - 1;
}

/// Loads by tensor maps: one warp, a lane for each box of a tile.
template <typename S>
class BoxLoader {
 public:
  __device__ __forceinline__ BoxLoader(const PrefillParams& p, const PrefillMemory<S>& memory,
                                       int lane)
      : p_(p), memory_(memory), lane_(lane) {
    const std::uint32_t page_tokens = 1u << p.page_shift;
    box_tokens_ = min(page_tokens, static_cast<std::uint32_t>(S::kTileTokens));
    boxes_ = S::kTileTokens / box_tokens_;
    first_ = lane * box_tokens_;
  }

  /// Goes to a tile and asks for the pages of its last KV tile.
  __device__ __forceinline__ void enter(const PrefillTile& tile) {
    live_begin_ = tile.live_begin;
    live_end_ = tile.live_end;
    kv_head_ = static_cast<std::int32_t>(tile.head / p_.heads_per_kv_head);
    pages_.enter(p_, tile.request, faults_);
    ahead_ = fetch(tile.kv_end - 1);
  }

  /// Loads K of KV tile `n` and asks for the pages of the one before.
  __device__ __forceinline__ void load_k(std::uint32_t n, bool more) {
    before_ = page_;
    page_ = clamped_page(p_, ahead_, faults_);
    if (more) ahead_ = fetch(n - 1);
    const std::uint32_t full = memory_.k_full(ring_k_.stage);
    ptx::mbarrier_wait(memory_.k_free(ring_k_.stage), ring_k_.round ^ 1);
    load(&p_.k_map, memory_.k(ring_k_.stage), full, n, page_);
    ring_k_.advance();
  }

  /// Loads V of KV tile `n`, whose K was loaded last or, with `behind`, before that.
  __device__ __forceinline__ void load_v(std::uint32_t n, bool behind) {
    const std::uint32_t page = behind ? before_ : page_;
    const std::uint32_t full = memory_.v_full(ring_v_.stage);
    const std::uint32_t to = memory_.v(ring_v_.stage);
    ptx::mbarrier_wait(memory_.v_free(ring_v_.stage), ring_v_.round ^ 1);
    const std::uint32_t token = n * S::kTileTokens;
    if (token >= live_begin_ && token + S::kTileTokens <= live_end_) {
      load(&p_.v_map, to, full, n, page);
    } else {
      load(&p_.v_map, to, memory_.edge(), n, page);
      ptx::mbarrier_wait(memory_.edge(), edge_round_);
      edge_round_ ^= 1;
      zero_dead_rows(to, token);
      ptx::fence_async_proxy();
      __syncwarp();
      if (lane_ == 0) ptx::mbarrier_arrive(full);
    }
    ring_v_.advance();
  }

  /// Hands the tile to the multiplying warps, with its queries.
  __device__ __forceinline__ void publish(const PrefillTile& tile) {
    ptx::mbarrier_wait(memory_.q_free(), round_q_ ^ 1);
    round_q_ ^= 1;
    if (lane_ == 0) {
      *memory_.tile = tile;
      ptx::mbarrier_arrive_expect(memory_.q_full(), tile.rows == 0 ? 0 : S::kQueryBytes);
      if (tile.rows != 0) {
#pragma unroll
        for (int group = 0; group < S::kGroups; ++group)
#pragma unroll
          for (int panel = 0; panel < S::kPanels; ++panel) {
            ptx::copy_box(memory_.queries() + (group * S::kPanels + panel) * 64 * 128, &p_.q_map,
                          memory_.q_full(), panel * 64, static_cast<std::int32_t>(tile.head),
                          static_cast<std::int32_t>(tile.first_row) + group * 64);
          }
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void finish() {}
  [[nodiscard]] __device__ __forceinline__ std::uint32_t faults() const {
    return faults_;
  }

 private:
  [[nodiscard]] __device__ __forceinline__ bool has_box(std::uint32_t n) const {
    const std::uint32_t token = n * S::kTileTokens + first_;
    return lane_ < static_cast<int>(boxes_) && token < live_end_ &&
           token + box_tokens_ > live_begin_;
  }

  [[nodiscard]] __device__ __forceinline__ std::uint32_t fetch(std::uint32_t n) const {
    return has_box(n) ? pages_.raw(p_, n * S::kTileTokens + first_) : 0;
  }

  __device__ __forceinline__ void load(const TensorMap* map, std::uint32_t to,
                                       std::uint32_t barrier, std::uint32_t n, std::uint32_t page) {
    const bool mine = has_box(n);
    const std::uint32_t count = __popc(__ballot_sync(~0u, mine));
    if (lane_ == 0) {
      ptx::mbarrier_arrive_expect(barrier, count * box_tokens_ * S::kPanels * 128);
    }
    __syncwarp();
    if (mine) {
      const auto offset =
          static_cast<std::int32_t>((n * S::kTileTokens + first_) & ((1u << p_.page_shift) - 1));
#pragma unroll
      for (int panel = 0; panel < S::kPanels; ++panel) {
        ptx::copy_box(to + panel * S::kTileTokens * 128 + first_ * 128, map, barrier, panel * 64,
                      kv_head_, offset, static_cast<std::int32_t>(page));
      }
    }
    __syncwarp();
  }

  /// Rows that hold no token of the request may hold anything, and 0 times anything is not 0.
  __device__ __forceinline__ void zero_dead_rows(std::uint32_t to, std::uint32_t token) const {
    for (int i = lane_; i < S::kTileTokens * 8; i += 32) {
      const std::uint32_t row = static_cast<std::uint32_t>(i) / 8;
      if (token + row >= live_begin_ && token + row < live_end_) continue;
#pragma unroll
      for (int panel = 0; panel < S::kPanels; ++panel) {
        ptx::store_shared_16(to + panel * S::kTileTokens * 128 + i * 16, make_uint4(0, 0, 0, 0));
      }
    }
  }

  const PrefillParams& p_;
  const PrefillMemory<S>& memory_;
  int lane_;
  RingStage<S::kStages> ring_k_, ring_v_;
  std::uint32_t round_q_ = 0, edge_round_ = 0;
  PageRow pages_;
  std::uint32_t live_begin_ = 0, live_end_ = 0;
  std::int32_t kv_head_ = 0;
  std::uint32_t box_tokens_, boxes_, first_;  // first_: of the lane's box in the KV tile
  std::uint32_t ahead_ = 0, page_ = 0, before_ = 0;
  std::uint32_t faults_ = 0;
};

/// Loads row by row, whatever the page size: four warps, a quarter of the rows each.
template <typename S>
class RowLoader {
  static constexpr int kSegments = S::D / 8;
  static constexpr int kRowsPerWarp = S::kTileTokens / 4;
  static_assert(kRowsPerWarp <= 32);

 public:
  __device__ __forceinline__ RowLoader(const PrefillParams& p, const PrefillMemory<S>& memory,
                                       int thread)
      : p_(p), memory_(memory), warp_(thread / 32), lane_(thread % 32) {}

  __device__ __forceinline__ void enter(const PrefillTile& tile) {
    live_begin_ = tile.live_begin;
    live_end_ = tile.live_end;
    kv_head_ = tile.head / p_.heads_per_kv_head;
    pages_.enter(p_, tile.request, faults_);
    ahead_ = fetch(tile.kv_end - 1);
  }

  __device__ __forceinline__ void load_k(std::uint32_t n, bool more) {
    before_ = page_;
    page_ = clamped_page(p_, ahead_, faults_);
    if (more) ahead_ = fetch(n - 1);
    ptx::mbarrier_wait(memory_.k_free(ring_k_.stage), ring_k_.round ^ 1);
    load(static_cast<const std::uint16_t*>(p_.k) + kv_head_ * p_.k_head_stride, p_.k_page_stride,
         p_.k_token_stride, memory_.k(ring_k_.stage), n, page_);
    ptx::mbarrier_arrive_behind_copies(memory_.k_full(ring_k_.stage));
    ring_k_.advance();
  }

  __device__ __forceinline__ void load_v(std::uint32_t n, bool behind) {
    ptx::mbarrier_wait(memory_.v_free(ring_v_.stage), ring_v_.round ^ 1);
    load(static_cast<const std::uint16_t*>(p_.v) + kv_head_ * p_.v_head_stride, p_.v_page_stride,
         p_.v_token_stride, memory_.v(ring_v_.stage), n, behind ? before_ : page_);
    ptx::mbarrier_arrive_behind_copies(memory_.v_full(ring_v_.stage));
    ring_v_.advance();
  }

  __device__ __forceinline__ void publish(const PrefillTile& tile) {
    ptx::mbarrier_wait(memory_.q_free(), round_q_ ^ 1);
    round_q_ ^= 1;
    const std::uint64_t policy = ptx::evict_normal_policy();
    const int thread = warp_ * 32 + lane_;
    if (tile.rows != 0) {
      const auto* q = static_cast<const std::uint16_t*>(p_.q) + tile.head * p_.q_head_stride;
      for (int i = thread; i < S::kRows * kSegments; i += 128) {
        const int row = i / kSegments;
        const int segment = i % kSegments;
        const bool live = row < static_cast<int>(tile.rows);
        const std::int64_t at = (tile.first_row + (live ? row : 0)) * p_.q_token_stride;
        ptx::copy_async_16(memory_.queries() + row / 64 * S::kPanels * 64 * 128 +
                               segment / 8 * 64 * 128 + row % 64 * 128 +
                               ((segment % 8 ^ row % 8) << 4),
                           q + at + segment * 8, live ? 16u : 0u, policy);
      }
    }
    ptx::mbarrier_arrive_behind_copies(memory_.q_full());
    if (thread == 0) {
      *memory_.tile = tile;
      ptx::mbarrier_arrive(memory_.q_full());
    }
  }

  __device__ __forceinline__ void finish() {
    ptx::copy_async_commit();
    ptx::copy_async_wait<0>();
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t faults() const { return faults_; }

 private:
  [[nodiscard]] __device__ __forceinline__ bool live(std::uint32_t token) const {
    return token >= live_begin_ && token < live_end_;
  }

  /// Page of the lane's row in KV tile `n`.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t fetch(std::uint32_t n) const {
    const std::uint32_t token = n * S::kTileTokens + warp_ * kRowsPerWarp + lane_ % kRowsPerWarp;
    return live(token) ? pages_.raw(p_, token) : 0;
  }

  /// Rows that hold no token of the request become zeros.
  __device__ __forceinline__ void load(const std::uint16_t* head, std::int64_t page_stride,
                                       std::int64_t token_stride, std::uint32_t to, std::uint32_t n,
                                       std::uint32_t page) const {
    static_assert(kRowsPerWarp * kSegments % 32 == 0);
    const std::uint64_t policy = ptx::evict_normal_policy();
    const std::uint32_t mask = (1u << p_.page_shift) - 1;
#pragma unroll 4
    for (int i = 0; i < kRowsPerWarp * kSegments / 32; ++i) {
      const int mine = (i * 32 + lane_) / kSegments;
      const int segment = (i * 32 + lane_) % kSegments;
      const int row = warp_ * kRowsPerWarp + mine;
      const std::uint32_t token = n * S::kTileTokens + row;
      const std::uint32_t row_page = __shfl_sync(~0u, page, mine);
      const std::uint16_t* from = head + row_page * page_stride + (token & mask) * token_stride;
      ptx::copy_async_16(
          to + segment / 8 * S::kTileTokens * 128 + row * 128 + ((segment % 8 ^ row % 8) << 4),
          from + segment * 8, live(token) ? 16u : 0u, policy);
    }
  }

  const PrefillParams& p_;
  const PrefillMemory<S>& memory_;
  int warp_, lane_;
  RingStage<S::kStages> ring_k_, ring_v_;
  std::uint32_t round_q_ = 0;
  PageRow pages_;
  std::uint32_t live_begin_ = 0, live_end_ = 0, kv_head_ = 0;
  std::uint32_t ahead_ = 0, page_ = 0, before_ = 0;
  std::uint32_t faults_ = 0;
};

/// `thread` of the loading warp group; with boxes only of its first warp. CTAs take tiles in rounds
/// whose direction alternates, so that none always gets the longest.
template <typename S>
__device__ __forceinline__ void load_tiles(const PrefillParams& p, const PrefillMemory<S>& memory,
                                           int thread) {
  std::conditional_t<S::kBoxes, BoxLoader<S>, RowLoader<S>> loader(p, memory, thread);
  TileWalk<S::kRows, S::kTileTokens> walk(p, thread % 32);
  PrefillTile tile;
  for (std::uint32_t round = 0;; ++round) {
    const std::uint32_t place = round % 2 != 0 ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
    if (!walk.find(round * gridDim.x + place, tile)) break;
    if (tile.kv_begin < tile.kv_end) {
      loader.enter(tile);
      loader.load_k(tile.kv_end - 1, tile.kv_end - 1 > tile.kv_begin);
    }
    loader.publish(tile);
    for (std::uint32_t n = tile.kv_end; n > tile.kv_begin; --n) {
      const bool more = n - 1 > tile.kv_begin;
      if (more) loader.load_k(n - 2, n - 2 > tile.kv_begin);
      loader.load_v(n - 1, more);
    }
  }
  tile.rows = 0;
  loader.publish(tile);
  loader.finish();
  const std::uint32_t faults = walk.faults() | loader.faults();
  if (faults != 0) atomicOr(p.status, faults);
}

}  // namespace onebeat::cuda
