// SPDX-License-Identifier: Apache-2.0
// The one argument of every prefill kernel. Trivially copyable; all pointers are device memory.
#pragma once

#include <cstdint>

namespace onebeat::cuda {

/// A tensor map as the driver encodes it (CUtensorMap).
struct TensorMap {
  std::uint64_t words[16] = {};
};

struct PrefillParams {
  alignas(64) TensorMap q_map;  ///< [tokens, H, D] in boxes of 64 tokens by 64 elements.
  alignas(64) TensorMap k_map;  ///< [pages, P, G, D] in boxes of min(P, N) tokens by 64 elements.
  alignas(64) TensorMap v_map;

  // The batch.
  const std::int32_t* query_begin = nullptr;  ///< [requests + 1]
  const std::int32_t* lens = nullptr;         ///< [requests]
  std::uint32_t requests = 0;
  std::uint32_t num_query_tokens = 0;  ///< Rows behind q and out.
  std::uint32_t max_query_tokens = 0;  ///< Of one request.

  // Geometry.
  std::uint32_t heads = 1;              ///< H
  std::uint32_t heads_per_kv_head = 1;  ///< R
  std::uint32_t page_shift = 0;         ///< log2 P
  std::int32_t window_left = -1;
  std::uint32_t chunk_tokens = 0;
  std::uint32_t causal = 1;

  // Scores.
  float scale = 1.0f;
  float soft_cap = 0.0f;
  const float* sinks = nullptr;  ///< [H] or null

  // Queries and outputs. Strides count elements.
  const void* q = nullptr;
  void* out = nullptr;
  std::int64_t q_token_stride = 0;
  std::int64_t q_head_stride = 0;
  std::int64_t out_token_stride = 0;
  std::int64_t out_head_stride = 0;
  float* lse = nullptr;
  std::int64_t lse_size = 0;
  std::int64_t lse_request_stride = 0;
  std::int64_t lse_token_stride = 0;
  std::int64_t lse_head_stride = 0;

  // The KV pool. Strides count elements.
  const void* k = nullptr;
  const void* v = nullptr;
  std::int64_t k_page_stride = 0;
  std::int64_t k_token_stride = 0;
  std::int64_t k_head_stride = 0;
  std::int64_t v_page_stride = 0;
  std::int64_t v_token_stride = 0;
  std::int64_t v_head_stride = 0;
  std::uint32_t num_pages = 0;

  // Where a request's pages are.
  const std::int32_t* pages = nullptr;
  const std::int32_t* row_of = nullptr;  ///< Null: row b.
  std::int64_t row_stride = 0;
  std::uint32_t num_rows = 0;
  std::uint32_t num_columns = 0;

  std::uint32_t* status = nullptr;  ///< Fault bits are or-ed into it.
};

}  // namespace onebeat::cuda
