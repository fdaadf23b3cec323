// SPDX-License-Identifier: Apache-2.0
// Prompts: each (request, query tile, KV head) is done by one thread from its first visible token
// to its last. There are enough of them to go round, so nothing is split; the longest, those of the
// last query tiles, are claimed first. Steps, chunks and tree are those of decode, so in
// batch-invariant mode the bits are too.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "attention/cpu/launch_frame.h"
#include "attention/cpu/page_walk.h"
#include "attention/cpu/query_tile.h"
#include "attention/launch_check.h"
#include "attention/visible_range.h"
#include "base/error.h"
#include "device/thread_pool.h"

namespace onebeat {
namespace cpu {
namespace {

std::int64_t query_tiles(const AttentionGeometry& geometry, std::int64_t tokens) {
  return (tokens * heads_per_kv_head(geometry) + kQueryTileRows - 1) / kQueryTileRows;
}

class PrefillRun {
 public:
  PrefillRun(const TileContext& context, const PageWalk& walk, std::span<std::byte> workspace,
             std::int32_t nodes)
      : geometry_(*context.geometry), walk_(walk), tile_(context, workspace, nodes) {}

  std::uint32_t run(const TileRows& rows) {
    const std::int64_t heads = heads_per_kv_head(geometry_);
    const std::int64_t before = rows.len - rows.query_tokens;
    const std::int64_t first = before + rows.first_row / heads;
    const std::int64_t last = before + (rows.first_row + rows.rows - 1) / heads;
    const bool none = rows.len == 0;
    const std::int64_t begin = none ? 0 : visible_range(geometry_, first, rows.len).begin;
    const std::int64_t end = none ? 0 : visible_range(geometry_, last, rows.len).end;
    const std::int64_t chunk_tokens = geometry_.invariant_chunk_tokens;
    const ChunkRange chunks = chunks_of(geometry_, begin, end);
    tile_.begin(rows, chunks, chunks.begin);

    std::uint32_t faults = 0;
    Step steps[2];
    resolve(steps[0], rows, begin, end, faults);
    for (int at = 0; steps[at].tokens > 0; at ^= 1) {
      const Step& now = steps[at];
      const std::int64_t stop = now.begin + now.tokens;
      resolve(steps[at ^ 1], rows, stop, end, faults);
      tile_.attend(now, &steps[at ^ 1]);
      if (chunk_tokens > 0 && (stop == end || stop % chunk_tokens == 0)) {
        if (!tile_.close_chunk(static_cast<std::uint32_t>(now.begin / chunk_tokens)))
          faults |= kFaultPlan;
      }
    }
    tile_.write(tile_.node(0));
    return faults;
  }

 private:
  void resolve(Step& step, const TileRows& rows, std::int64_t begin, std::int64_t end,
               std::uint32_t& faults) {
    step.begin = begin;
    step.tokens =
        begin < end ? static_cast<std::int32_t>(step_end(geometry_, begin, end) - begin) : 0;
    if (step.tokens == 0) return;
    faults |= walk_.resolve(rows.request, rows.kv_head, static_cast<std::uint32_t>(begin),
                            static_cast<std::uint32_t>(begin + step.tokens), step.k_offsets,
                            step.v_offsets);
  }

  const AttentionGeometry& geometry_;
  const PageWalk& walk_;
  QueryTile tile_;
};

Result<LaunchExtent> extent_of(const PrefillBatch& batch) {
  if (batch.query_begin.size() != batch.lens.size() + 1 || batch.query_begin[0] != 0) {
    return invalid_argument(
        "prefill of {} requests has {} query offsets; it takes one more than requests, from 0",
        batch.lens.size(), batch.query_begin.size());
  }
  LaunchExtent extent;
  extent.requests = static_cast<std::int64_t>(batch.lens.size());
  extent.query_tokens = batch.query_begin.back();
  for (std::size_t r = 0; r < batch.lens.size(); ++r) {
    const std::int64_t tokens = std::int64_t{batch.query_begin[r + 1]} - batch.query_begin[r];
    if (tokens < 0) {
      return out_of_range("query offsets fall from {} to {} at request {}", batch.query_begin[r],
                          batch.query_begin[r + 1], r);
    }
    if (batch.lens[r] < 0 || (batch.lens[r] != 0 && batch.lens[r] < tokens)) {
      return out_of_range(
          "request {} has {} KV tokens and {} query tokens; the latter are the last of the former",
          r, batch.lens[r], tokens);
    }
    extent.max_query_tokens = std::max(extent.max_query_tokens, tokens);
    extent.longest = std::max<std::int64_t>(extent.longest, batch.lens[r]);
  }
  return extent;
}

/// Unit number `unit` of the batch, counted from the end.
TileRows unit_rows(const AttentionGeometry& geometry, const PrefillBatch& batch,
                   std::int64_t unit) {
  const std::int64_t heads = heads_per_kv_head(geometry);
  std::size_t request = batch.lens.size();
  TileRows rows;
  while (true) {
    --request;
    rows.query_tokens = std::int64_t{batch.query_begin[request + 1]} - batch.query_begin[request];
    const std::int64_t units = query_tiles(geometry, rows.query_tokens) * geometry.num_kv_heads;
    if (unit < units) break;
    unit -= units;
  }
  const std::int64_t tile =
      query_tiles(geometry, rows.query_tokens) - 1 - unit / geometry.num_kv_heads;
  rows.request = static_cast<std::uint32_t>(request);
  rows.kv_head = static_cast<std::uint32_t>(unit % geometry.num_kv_heads);
  rows.first_token = batch.query_begin[request];
  rows.len = batch.lens[request];
  rows.first_row = tile * kQueryTileRows;
  rows.rows = static_cast<std::int32_t>(
      std::min<std::int64_t>(kQueryTileRows, heads * rows.query_tokens - rows.first_row));
  return rows;
}

}  // namespace
}  // namespace cpu

Status prefill_attention(const AttentionGeometry& geometry, const PrefillBatch& batch,
                         const AttentionLaunch& launch, ThreadPool& pool) {
  using namespace cpu;  // NOLINT: the twin's own names
  if (launch.report != nullptr) *launch.report = {};
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  ONEBEAT_ASSIGN_OR_RETURN(const KernelTable* kernels, choose_kernels(launch.variant));
  ONEBEAT_ASSIGN_OR_RETURN(const LaunchExtent extent, extent_of(batch));
  ONEBEAT_RETURN_IF_ERROR(check_launch(geometry, launch, extent));
  ONEBEAT_RETURN_IF_ERROR(check_host_kv_scales(launch.kv));

  const std::int32_t nodes = QueryTile::nodes_needed(geometry, extent.longest);
  const std::size_t bytes = QueryTile::workspace_bytes(geometry, nodes);
  ONEBEAT_RETURN_IF_ERROR(reserve_workspaces(pool, bytes));

  std::int64_t units = 0;
  for (std::size_t r = 0; r < batch.lens.size(); ++r) {
    units += query_tiles(geometry, std::int64_t{batch.query_begin[r + 1]} - batch.query_begin[r]) *
             geometry.num_kv_heads;
  }
  const PageWalk walk(launch.kv, launch.pages);
  const TileContext context{&geometry, &launch, kernels};
  std::atomic<std::uint32_t> faults{0};
  pool.parallel_for(units, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    PrefillRun run(context, walk, pool.workspace(thread, bytes), nodes);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::uint32_t found = run.run(unit_rows(geometry, batch, unit));
      if (found != 0) faults.fetch_or(found, std::memory_order_relaxed);
    }
  });
  return report_faults(faults.load(), *kernels, launch.report);
}

}  // namespace onebeat
