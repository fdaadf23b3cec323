// SPDX-License-Identifier: Apache-2.0
#include "onebeat/geometry.h"

#include <array>
#include <bit>

#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::int32_t kMaxHeads = 1024;
constexpr std::int32_t kMaxHeadDim = 512;
constexpr std::int32_t kMaxPageTokens = 1 << 20;
constexpr std::int32_t kMaxWorkers = 4096;
constexpr std::int32_t kMaxQueryTokens = 16;

Status check_range(const char* name, std::int32_t value, std::int32_t low, std::int32_t high) {
  if (value >= low && value <= high) return {};
  return out_of_range("{} is {}; it must be from {} to {}", name, value, low, high);
}

Status check_power_of_two(const char* name, std::int32_t value, std::int32_t low,
                          std::int32_t high) {
  if (value >= low && value <= high && std::has_single_bit(static_cast<std::uint32_t>(value))) {
    return {};
  }
  return invalid_argument("{} is {}; it must be a power of two from {} to {}", name, value, low,
                          high);
}

Status check_head_dim(const char* name, std::int32_t value) {
  if (value >= 8 && value <= kMaxHeadDim && value % 8 == 0) return {};
  return invalid_argument("{} is {}; it must be a multiple of 8 from 8 to {}", name, value,
                          kMaxHeadDim);
}

}  // namespace

Result<HeadCounts> heads_of_rank(HeadCounts model, std::int32_t ranks) {
  ONEBEAT_RETURN_IF_ERROR(check_range("attention ranks", ranks, 1, kMaxHeads));
  ONEBEAT_RETURN_IF_ERROR(check_range("query heads", model.num_heads, 1, kMaxHeads));
  ONEBEAT_RETURN_IF_ERROR(check_range("KV heads", model.num_kv_heads, 1, kMaxHeads));
  if (model.num_heads % model.num_kv_heads != 0) {
    return invalid_argument("{} query heads are not a multiple of {} KV heads", model.num_heads,
                            model.num_kv_heads);
  }
  if (model.num_heads % ranks != 0) {
    return invalid_argument("{} query heads do not divide over {} attention ranks", model.num_heads,
                            ranks);
  }
  if (model.num_kv_heads % ranks != 0 && ranks % model.num_kv_heads != 0) {
    return invalid_argument("{} KV heads neither divide over {} attention ranks nor repeat on them",
                            model.num_kv_heads, ranks);
  }
  const std::int32_t kv_heads = model.num_kv_heads / ranks;
  return HeadCounts{model.num_heads / ranks, kv_heads > 0 ? kv_heads : 1};
}

Status validate(const AttentionGeometry& g) {
  ONEBEAT_RETURN_IF_ERROR(check_range("num_heads", g.num_heads, 1, kMaxHeads));
  ONEBEAT_RETURN_IF_ERROR(check_range("num_kv_heads", g.num_kv_heads, 1, kMaxHeads));
  if (g.num_heads % g.num_kv_heads != 0) {
    return invalid_argument(
        "num_heads is {} and num_kv_heads is {}; KV heads must divide query heads", g.num_heads,
        g.num_kv_heads);
  }
  ONEBEAT_RETURN_IF_ERROR(check_head_dim("head_dim", g.head_dim));
  ONEBEAT_RETURN_IF_ERROR(check_head_dim("head_dim_v", g.head_dim_v));
  ONEBEAT_RETURN_IF_ERROR(check_power_of_two("page_tokens", g.page_tokens, 1, kMaxPageTokens));
  ONEBEAT_RETURN_IF_ERROR(check_power_of_two("tile_tokens", g.tile_tokens, 8, 1024));
  ONEBEAT_RETURN_IF_ERROR(check_range("workers", g.workers, 1, kMaxWorkers));
  ONEBEAT_RETURN_IF_ERROR(check_range("max_query_tokens", g.max_query_tokens, 1, kMaxQueryTokens));
  if (g.window_left < -1) {
    return invalid_argument(
        "window_left is {}; it must be -1 (no window) or the number of earlier tokens seen",
        g.window_left);
  }
  if (g.chunk_tokens < 0) {
    return invalid_argument("chunk_tokens is {}; it must be 0 (no chunks) or a number of tokens",
                            g.chunk_tokens);
  }
  if (g.invariant_chunk_tokens < 0 || g.invariant_chunk_tokens % g.tile_tokens != 0) {
    return invalid_argument(
        "invariant_chunk_tokens is {}; it must be 0 or a multiple of tile_tokens, {}",
        g.invariant_chunk_tokens, g.tile_tokens);
  }
  return {};
}

std::uint32_t plan_stamp(const AttentionGeometry& g) {
  const std::array<std::int32_t, 14> fields = {static_cast<std::int32_t>(kPlanVersion),
                                               g.num_heads,
                                               g.num_kv_heads,
                                               g.head_dim,
                                               g.head_dim_v,
                                               g.page_tokens,
                                               g.tile_tokens,
                                               g.workers,
                                               g.window_left,
                                               g.chunk_tokens,
                                               g.max_query_tokens,
                                               g.invariant_chunk_tokens,
                                               g.causal ? 1 : 0,
                                               static_cast<std::int32_t>(g.kv_type)};
  // FNV-1a over the fields' little-endian bytes, then an avalanche: a change of one bit must show
  // everywhere.
  std::uint32_t hash = 2166136261u;
  for (const std::int32_t field : fields) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ ((static_cast<std::uint32_t>(field) >> shift) & 0xffu)) * 16777619u;
    }
  }
  hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
  hash ^= hash >> 16;
  return hash != 0 ? hash : 1;  // 0 marks an idle worker
}

}  // namespace onebeat
