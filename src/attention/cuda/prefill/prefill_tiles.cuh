// SPDX-License-Identifier: Apache-2.0
// Tiles of a prefill, the work of a CTA at a time: consecutive query tokens of one request and
// head. Requests one after the other; within a request the tiles that see most come first, and the
// heads of one KV head side by side, for they read the same cache.
#pragma once

#include <cstdint>

#include "attention/cuda/prefill/prefill_params.h"

namespace onebeat::cuda {

/// Fault bits, as AttentionFault.
inline constexpr std::uint32_t kPrefillFaultPageId = 1u << 0;
inline constexpr std::uint32_t kPrefillFaultPageRow = 1u << 1;
inline constexpr std::uint32_t kPrefillFaultBatch = 1u << 3;

/// Query tokens at consecutive positions see KV tokens [low, high).
struct SeenTokens {
  std::uint32_t low = 0, high = 0;

  __device__ __forceinline__ SeenTokens(const PrefillParams& p, std::uint32_t position,
                                        std::uint32_t len) {
    if (p.window_left >= 0) {
      const auto window = static_cast<std::uint32_t>(p.window_left);
      low = position > window ? position - window : 0;
    }
    high = p.causal != 0 ? min(position + 1, len) : len;
    if (p.chunk_tokens != 0) {
      const std::uint32_t chunk = position / p.chunk_tokens * p.chunk_tokens;
      low = max(low, chunk);
      high = min(high, chunk + p.chunk_tokens);
    }
  }
};

/// One tile. In shared memory between the warp that makes it and those that work on it.
struct PrefillTile {
  std::uint32_t request;
  std::uint32_t head;
  std::uint32_t first_row;             ///< Of q and out.
  std::uint32_t rows;                  ///< Query tokens in the tile; 0: no tile is left.
  std::uint32_t token;                 ///< Which of the request's query tokens the first one is.
  std::uint32_t position;              ///< Of that one in the request.
  std::uint32_t len;                   ///< KV tokens of the request.
  std::uint32_t kv_begin, kv_end;      ///< KV tiles that some row sees.
  std::uint32_t live_begin, live_end;  ///< KV tokens of the request that may be read.
};

/// The tiles of one CTA, in order. Warps call it with all lanes and get the same.
template <int kRows, int kTileTokens>
class TileWalk {
 public:
  __device__ __forceinline__ TileWalk(const PrefillParams& p, int lane) : p_(p), lane_(lane) {
    load_requests();
  }

  /// Tile number `index` of all; indices must not fall from call to call.
  __device__ __forceinline__ bool find(std::uint32_t index, PrefillTile& tile) {
    while (true) {
      const std::uint32_t tiles = __shfl_sync(~0u, blocks_behind_, 31) * p_.heads;
      if (index - before_ < tiles) break;
      before_ += tiles;
      group_ += 32;
      if (group_ >= p_.requests) return false;
      load_requests();
    }
    std::uint32_t t = index - before_;
    const auto at = static_cast<int>(__popc(__ballot_sync(~0u, blocks_behind_ * p_.heads <= t)));
    const std::uint32_t blocks = __shfl_sync(~0u, blocks_, at);
    t -= (__shfl_sync(~0u, blocks_behind_, at) - blocks) * p_.heads;
    const std::uint32_t block = blocks - 1 - t / p_.heads;
    tile.head = t % p_.heads;
    tile.request = group_ + static_cast<std::uint32_t>(at);
    tile.token = block * kRows;
    tile.first_row = __shfl_sync(~0u, first_row_, at) + tile.token;
    const std::uint32_t query_tokens = __shfl_sync(~0u, query_tokens_, at);
    tile.rows = min(query_tokens - tile.token, static_cast<std::uint32_t>(kRows));
    tile.len = __shfl_sync(~0u, len_, at);
    const std::uint32_t start = tile.len >= query_tokens ? tile.len - query_tokens : 0;
    tile.position = start + tile.token;
    const SeenTokens first(p_, tile.position, tile.len);
    const SeenTokens last(p_, tile.position + tile.rows - 1, tile.len);
    tile.live_begin = SeenTokens(p_, start, tile.len).low;
    tile.live_end = tile.len;
    const bool none = first.low >= last.high;
    tile.kv_begin = none ? 0 : first.low / kTileTokens;
    tile.kv_end = none ? 0 : (last.high + kTileTokens - 1) / kTileTokens;
    return true;
  }

  [[nodiscard]] __device__ __forceinline__ std::uint32_t faults() const { return faults_; }

 private:
  /// Each lane's request of the group. Whatever the arrays hold, rows and lengths are in bounds.
  __device__ __forceinline__ void load_requests() {
    const std::uint32_t request = group_ + static_cast<std::uint32_t>(lane_);
    query_tokens_ = first_row_ = len_ = 0;
    if (request < p_.requests) {
      const std::int32_t begin = p_.query_begin[request];
      const std::int32_t end = p_.query_begin[request + 1];
      const std::int32_t len = p_.lens[request];
      const bool wrong = begin < 0 || end < begin ||
                         end > static_cast<std::int32_t>(p_.num_query_tokens) || len < 0 ||
                         static_cast<std::uint32_t>(end - begin) > p_.max_query_tokens ||
                         (len != 0 && len < end - begin);
      if (wrong) {
        faults_ |= kPrefillFaultBatch;
      } else {
        first_row_ = static_cast<std::uint32_t>(begin);
        query_tokens_ = static_cast<std::uint32_t>(end - begin);
        len_ = static_cast<std::uint32_t>(len);
        const std::uint64_t most = std::uint64_t{p_.num_columns} << p_.page_shift;
        if (len_ > most) {
          len_ = static_cast<std::uint32_t>(most);
          faults_ |= kPrefillFaultPageRow;
        }
      }
    }
    blocks_ = (query_tokens_ + kRows - 1) / kRows;
    blocks_behind_ = blocks_;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const std::uint32_t other = __shfl_up_sync(~0u, blocks_behind_, step);
      if (lane_ >= step) blocks_behind_ += other;
    }
  }

  const PrefillParams& p_;
  int lane_;
  std::uint32_t group_ = 0;   // its first request
  std::uint32_t before_ = 0;  // tiles of earlier groups
  std::uint32_t blocks_ = 0, blocks_behind_ = 0, query_tokens_ = 0, first_row_ = 0, len_ = 0;
  std::uint32_t faults_ = 0;
};

}  // namespace onebeat::cuda
