// SPDX-License-Identifier: Apache-2.0
// QueryTile: one thread's working memory, in which one query tile meets the KV tokens of one head
// step by step. Decode and prefill both work with it, which is why their bits agree where they
// must.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/cpu/kernels.h"
#include "onebeat/attention.h"
#include "plan/reduction_tree.h"

namespace onebeat::cpu {

/// What all threads of a launch share. Borrowed for the launch.
struct TileContext {
  const AttentionGeometry* geometry = nullptr;
  const AttentionLaunch* launch = nullptr;
  const KernelTable* kernels = nullptr;
};

/// The rows of a query tile: row i is row first_row + i of the request, rows numbered token * R +
/// head in group.
struct TileRows {
  std::uint32_t request = 0;
  std::uint32_t kv_head = 0;
  std::int64_t first_token = 0;   ///< Row of q of the request's first query token.
  std::int64_t query_tokens = 0;  ///< T of this request.
  std::int64_t len = 0;
  std::int64_t first_row = 0;
  std::int32_t rows = 0;
};

/// Some KV tokens, at most kStepTokens, at known places.
struct Step {
  std::int64_t begin = 0;
  std::int32_t tokens = 0;
  std::int64_t k_offsets[kStepTokens];
  std::int64_t v_offsets[kStepTokens];
};

/// One past the last token of the step that begins at `token`: steps end at multiples of
/// kStepTokens and of the batch-invariant chunk, so they do not depend on how the work is divided.
[[nodiscard]] std::int64_t step_end(const AttentionGeometry& geometry, std::int64_t token,
                                    std::int64_t end);

/// Chunks of batch-invariant mode that hold tokens [begin, end).
[[nodiscard]] ChunkRange chunks_of(const AttentionGeometry& geometry, std::int64_t begin,
                                   std::int64_t end);

class QueryTile {
 public:
  /// Tree nodes that a tile must hold at once when no request is longer than `longest`; 1 without
  /// batch invariance.
  [[nodiscard]] static std::int32_t nodes_needed(const AttentionGeometry& geometry,
                                                 std::int64_t longest);
  [[nodiscard]] static std::size_t workspace_bytes(const AttentionGeometry& geometry,
                                                   std::int32_t nodes);

  QueryTile(const TileContext& context, std::span<std::byte> workspace, std::int32_t nodes);

  /// Loads the queries and forgets everything before. Of `request_chunks` the run that begins at
  /// chunk `run_begin` follows (batch-invariant mode only).
  void begin(const TileRows& rows, ChunkRange request_chunks = {}, std::uint32_t run_begin = 0);

  /// Adds the tokens of `step`; fetches those of `next` (or null) meanwhile.
  void attend(const Step& step, const Step* next);

  /// Batch-invariant mode: chunk `chunk` is complete. Returns false if there is no room, which only
  /// a damaged plan does.
  [[nodiscard]] bool close_chunk(std::uint32_t chunk);

  [[nodiscard]] const TileRows& rows() const { return rows_; }
  /// Complete results so far: one, or in batch-invariant mode the nodes of the run.
  [[nodiscard]] std::int32_t num_nodes() const { return invariant_ ? depth_ : 1; }
  [[nodiscard]] std::uint32_t node_begin(std::int32_t node) const { return node_begin_[node]; }
  [[nodiscard]] RowPartials node(std::int32_t node) const;

  /// Writes output and log-sum-exp of the tile's rows.
  void write(const RowPartials& result) const;

 private:
  void reset(const RowPartials& partials) const;
  void load_queries();
  [[nodiscard]] std::int64_t token_of(std::int64_t row) const { return row / heads_; }

  static constexpr std::int32_t kMaxNodes = 2 * 32 + 2;

  const TileContext& context_;
  const bool invariant_;
  const std::int32_t heads_;  ///< R
  const std::int32_t max_nodes_;
  TileRows rows_;
  ChunkRange request_chunks_;
  std::uint32_t run_begin_ = 0;
  std::int32_t depth_ = 0;  ///< Complete nodes; the node after them is being filled.
  std::uint32_t node_begin_[kMaxNodes];

  float* q_ = nullptr;
  float* scores_ = nullptr;
  float* converted_ = nullptr;
  TileSpace tiles_;
  float* maxima_ = nullptr;  ///< [nodes][64]
  float* sums_ = nullptr;
  float* outputs_ = nullptr;  ///< [nodes][64][padded(Dv)]
};

}  // namespace onebeat::cpu
