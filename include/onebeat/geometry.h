// SPDX-License-Identifier: Apache-2.0
// AttentionGeometry: the one description of an attention class that planner, kernels, scratch and
// checks share.
#pragma once

#include <cstdint>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// Element type of a KV cache.
enum class KvType : std::uint8_t { kF32, kF16, kBF16, kF8E4M3 };

/// Bytes of one element.
[[nodiscard]] constexpr int size_of(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kF8E4M3 ? 1 : 2;
}

/// For messages and reports.
[[nodiscard]] constexpr std::string_view name_of(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "fp32";
    case KvType::kF16:
      return "fp16";
    case KvType::kBF16:
      return "bf16";
    case KvType::kF8E4M3:
      return "fp8 e4m3";
  }
  return "unknown";
}

/// Query and KV heads of one rank.
struct HeadCounts {
  std::int32_t num_heads = 0;     ///< H
  std::int32_t num_kv_heads = 0;  ///< G
  friend bool operator==(const HeadCounts&, const HeadCounts&) = default;
};

/// Heads of one rank under attention tensor parallelism over `ranks` (contract G2).
/// `ranks` is the size of the *attention* group, never the world's: under DP attention the two
/// differ. Errors: kInvalidArgument unless H % ranks == 0 and (G % ranks == 0 or ranks % G == 0).
[[nodiscard]] Result<HeadCounts> heads_of_rank(HeadCounts model, std::int32_t ranks);

/// The partition fields of one attention class (contract G1): all that decides how the work of a
/// step is divided. They are hashed into the stamp that every worker of a plan carries; a kernel
/// launched for another geometry refuses the plan. Counts are of this rank. A plain value; make it
/// once per class and pass it everywhere.
struct AttentionGeometry {
  std::int32_t num_heads = 0;     ///< H, query heads.
  std::int32_t num_kv_heads = 0;  ///< G, KV heads; divides H.
  std::int32_t head_dim = 0;  ///< D, elements of a query or key head; a multiple of 8, at most 512.
  std::int32_t head_dim_v = 0;    ///< Dv, elements of a value head; a multiple of 8, at most 512.
  std::int32_t page_tokens = 16;  ///< P, KV tokens in a page; a power of two.
  std::int32_t tile_tokens = 64;  ///< N, KV tokens in a tile; a power of two from 8 to 1024.
  std::int32_t workers = 1;       ///< W, persistent workers that share a step; 1 to 4,096.
  std::int32_t window_left = -1;  ///< Earlier tokens that a query sees besides itself; -1: all.
  std::int32_t chunk_tokens =
      0;  ///< Queries see only their own chunk of this many tokens; 0: no chunks.
  std::int32_t max_query_tokens = 1;  ///< Largest T, query tokens of a request in a step; 1 to 16.
  /// 0, or the batch-invariant mode (contract D9): units are cut only at multiples of this many
  /// tokens and merged over a fixed binary tree, so that a request's bits do not depend on its
  /// company. A multiple of tile_tokens.
  std::int32_t invariant_chunk_tokens = 0;
  bool causal = true;  ///< Query token t of T sees keys up to its own position; else every key of
                       ///< the request.
  KvType kv_type = KvType::kBF16;

  friend bool operator==(const AttentionGeometry&, const AttentionGeometry&) = default;
};

/// Errors: kInvalidArgument or kOutOfRange naming the field, its value and what it takes.
[[nodiscard]] Status validate(const AttentionGeometry& geometry);

/// R: query heads that share one KV head.
[[nodiscard]] constexpr std::int32_t heads_per_kv_head(const AttentionGeometry& geometry) {
  return geometry.num_heads / geometry.num_kv_heads;
}

/// Most query rows, (token, head) pairs of one KV head, that one unit of work packs (contract D1).
inline constexpr std::int32_t kQueryTileRows = 64;

/// Version of the plan's byte layout and arithmetic; part of every stamp.
inline constexpr std::uint32_t kPlanVersion = 1;

/// The 32-bit stamp of (kPlanVersion, partition fields) that workers of a plan carry (contract B2);
/// never 0.
[[nodiscard]] std::uint32_t plan_stamp(const AttentionGeometry& geometry);

/// How costs of work are counted for one class on one device (contract D8). Data: measured, not
/// derived.
struct CostModel {
  /// Fixed cost of a segment in 1/256 tile: query load, softmax start, output. At least 1.
  std::uint32_t segment_overhead = 128;
  /// A unit is never cut so that a worker gets fewer tiles of it than this. At least 1.
  std::uint32_t min_tiles = 1;
  /// No worker is given less than this, in 1/256 tile, while others wait; raised to what D3 needs.
  std::uint32_t min_worker_cost = 0;
  friend bool operator==(const CostModel&, const CostModel&) = default;
};

}  // namespace onebeat
