// SPDX-License-Identifier: Apache-2.0
// What benchmarks of decode attention on a CUDA device work on: shapes, and device memory for their
// K, V, queries and page rows. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/cuda_memory.h"
#include "onebeat/attention.h"

namespace onebeat::cli {

/// One batch of one geometry.
struct DecodeShape {
  std::string group, batch, peer;
  std::int32_t heads = 0, kv_heads = 0, head_dim = 0, page = 0;
  std::vector<std::int32_t> lens;
  double peer_us = 0;             ///< Stored figure of another library for one layer; 0: none.
  std::int32_t query_tokens = 1;  ///< Of each request.

  [[nodiscard]] std::int64_t tokens() const;
  [[nodiscard]] std::int64_t pages() const;
  [[nodiscard]] std::int32_t longest() const;
  /// Of K and V of one layer.
  [[nodiscard]] double bytes(KvType type = KvType::kBF16) const;
};

/// The grid of bench/peers/h200_decode_attention.csv.
[[nodiscard]] std::vector<DecodeShape> stored_decode_shapes();

/// Shapes outside of the stored grid: other heads, pages and batches, lengths that are no round
/// numbers.
[[nodiscard]] std::vector<DecodeShape> irregular_decode_shapes();

/// Several query tokens a request, as when drafted tokens are verified, and many query heads on one
/// KV head: 16 to 128 query rows.
[[nodiscard]] std::vector<DecodeShape> verify_decode_shapes();

/// 1 to 64 query rows of a KV head, by few and many heads and query tokens, over batches and
/// lengths of all kinds: where one family of kernels overtakes the other.
[[nodiscard]] std::vector<DecodeShape> query_row_shapes();

/// Every head size that there are kernels for, on the same bytes: lengths are such that heads of
/// 128 have round ones.
[[nodiscard]] std::vector<DecodeShape> head_size_shapes();

/// Memory that one shape after another uses: as many layers' K and V as fit, so that the L2 holds
/// none of what a launch reads.
class DecodeMemory {
 public:
  /// Such as 128 requests of 8 query tokens of 128 heads of 128.
  static constexpr std::size_t kMostRowElements = std::size_t{128} * 8 * 128 * 128;

  /// Takes three quarters of `free_bytes`, 20 GB at most, for caches of `type`: bf16, fp16 or fp8.
  [[nodiscard]] Status allocate(KvType type, std::size_t free_bytes, cudaStream_t stream);

  /// Makes this the shape that the functions below are about: random pages, named through rows of a
  /// page map. Errors: kResourceExhausted.
  [[nodiscard]] Status lay_out(const DecodeShape& shape, cudaStream_t stream);

  [[nodiscard]] const PageMap& pages() const { return pages_; }
  /// K and V of layer `layer` (modulo the layers that fit).
  [[nodiscard]] KvPool kv(const AttentionGeometry& geometry, KvLayout layout,
                          std::size_t layer) const;
  /// kMostRowElements elements, for rows of all query tokens: the output of one launch is the query
  /// of the next.
  [[nodiscard]] std::uint16_t* rows(std::size_t layer) const { return rows_[layer % 2].data(); }

 private:
  DeviceBuffer<std::byte> cache_;
  DeviceBuffer<std::uint16_t> rows_[2];
  DeviceBuffer<std::int32_t> table_;
  PageMap pages_;
  std::int64_t num_pages_ = 0;
  int element_bytes_ = 2;
  std::size_t half_bytes_ = 0;  // of K
  std::size_t fitting_ = 1;
};

}  // namespace onebeat::cli
