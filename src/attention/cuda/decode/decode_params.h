// SPDX-License-Identifier: Apache-2.0
// The one argument of every decode kernel. Trivially copyable; all pointers are device memory.
#pragma once

#include <cstdint>

#include "onebeat/plan.h"

namespace onebeat::cuda {

/// Batch-invariant mode: most tree nodes that a slot may have room for, and so most nodes that any
/// beginning of a request has.
inline constexpr int kMostNodesPerSlot = 12;

struct DecodeParams {
  // The plan. Its sections' places depend on W and capacity only, so no header has to be read.
  const WorkerRecord* workers = nullptr;
  const RequestRecord* requests = nullptr;
  const std::uint32_t* query_begin = nullptr;
  std::uint32_t stamp = 0;
  std::uint32_t capacity = 0;  ///< Request records behind `requests`, less one.

  // Geometry.
  std::uint32_t kv_heads = 1;           ///< G
  std::uint32_t heads_per_kv_head = 1;  ///< R
  std::uint32_t page_shift = 0;         ///< log2 P
  std::uint32_t page_mask = 0;          ///< P - 1
  std::int32_t window_left = -1;
  std::uint32_t chunk_tokens = 0;
  std::uint32_t causal = 1;

  // Scores.
  float scale = 1.0f;
  float soft_cap = 0.0f;
  const float* sinks = nullptr;  ///< [H] or null

  // Queries and outputs, of the variant's type. Strides count elements.
  const void* q = nullptr;
  void* out = nullptr;
  std::int64_t q_token_stride = 0;
  std::int64_t q_head_stride = 0;
  std::int64_t out_token_stride = 0;
  std::int64_t out_head_stride = 0;
  std::uint32_t num_query_tokens = 0;  ///< Rows behind q and out.
  float* lse = nullptr;
  std::int64_t lse_size = 0;
  std::int64_t lse_request_stride = 0;
  std::int64_t lse_token_stride = 0;
  std::int64_t lse_head_stride = 0;

  // The KV pool.
  const void* k = nullptr;
  const void* v = nullptr;
  std::uint32_t k_page_bytes = 0;
  std::uint32_t k_token_bytes = 0;
  std::uint32_t v_page_bytes = 0;
  std::uint32_t v_token_bytes = 0;
  std::int64_t k_head_stride = 0;  ///< elements
  std::int64_t v_head_stride = 0;
  std::uint32_t num_pages = 0;
  const float* k_scales = nullptr;  ///< [G] or null: 1; only of fp8
  const float* v_scales = nullptr;

  // Where a request's pages are.
  const std::int32_t* pages = nullptr;
  const std::int32_t* row_of = nullptr;  ///< Null: row b.
  std::int64_t row_stride = 0;
  std::uint32_t num_rows = 0;
  std::uint32_t num_columns = 0;

  // Scratch (contract D6).
  float* partial_outputs = nullptr;   ///< [2W, rows_per_slot, D]
  float* partial_stats = nullptr;     ///< [2W, rows_per_slot, 2]: maximum in base-2 units, sum
  std::uint32_t* counters = nullptr;  ///< [3W]
  std::uint32_t rows_per_slot = 0;
  std::uint32_t nodes_per_slot = 1;  ///< Tree nodes that a slot has room for, in front of the rows.
  std::uint32_t invariant_tiles = 0;   ///< Tiles of a chunk of batch-invariant mode; 0: not in it.
  std::uint32_t flat_merge_limit = 0;  ///< Units of more partial results are merged in two levels.

  /// Plan, page rows and old KV were complete before this kernel could start: they may be read
  /// before the dependency wait.
  std::uint32_t early_loads = 0;
  /// KV is kept in L2 like anything else; otherwise it goes first, since nobody reads it again.
  std::uint32_t kv_is_shared = 0;
  std::uint32_t* status = nullptr;  ///< Fault bits are or-ed into it.
};

}  // namespace onebeat::cuda
