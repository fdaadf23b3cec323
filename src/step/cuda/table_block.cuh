// SPDX-License-Identifier: Apache-2.0
// Materialised page tables: blocks take chunks of columns in turn. Dense chunks are numbered by
// division, live ones over a prefix sum of the rows' chunks that every block makes for itself.
#pragma once

#include <cstdint>

#include "device/block_scan.cuh"
#include "step/cuda/request_block.cuh"

namespace onebeat::cuda {

inline constexpr std::uint32_t kMaxTableThreads = 1024;

struct TableSpace {
  ScanSpace scan;
  std::uint32_t chunk_begin[kMaxTableThreads];  // of each thread's rows
};

/// A run of columns of one row.
struct TableChunk {
  std::int64_t first = 0;
  std::int64_t end = 0;
  std::int64_t row = 0;       // of the page map
  std::uint32_t request = 0;  // row of the tables
};

__device__ __forceinline__ std::int32_t page_of_entry(const PrepareParams& p, std::int64_t entry) {
  return static_cast<std::int32_t>(p.map.of_slots ? entry >> p.page_shift : entry);
}

__device__ __forceinline__ std::int32_t window_page_of_entry(const PrepareParams& p,
                                                             std::int64_t entry) {
  const std::int64_t slot = p.map.of_slots ? entry : entry * (std::int64_t{1} << p.page_shift);
  return step::window_page_of_slot(p.window, slot, p.page_shift);
}

/// First element of a chunk in a table. Null stays null.
__device__ __forceinline__ std::int32_t* chunk_begin(const IntTable& table,
                                                     const TableChunk& chunk) {
  if (table.data == nullptr) return nullptr;
  return table.data + chunk.request * table.row_stride + chunk.first * table.column_stride;
}

/// One entry per thread and turn, several turns in flight.
template <typename Entry, int kTurns, bool kWindow>
__device__ __forceinline__ void gather_entries(const PrepareParams& p, const TableChunk& chunk) {
  const std::int64_t stride =
      p.map.of_slots ? p.map.column_stride << p.page_shift : p.map.column_stride;
  const Entry* source =
      static_cast<const Entry*>(p.map.data) + chunk.row * p.map.row_stride + chunk.first * stride;
  const std::int64_t out_stride = p.tables.pages.column_stride;
  const std::int64_t window_stride = p.tables.window_pages.column_stride;
  std::int32_t* out = chunk_begin(p.tables.pages, chunk);
  std::int32_t* window_out = chunk_begin(p.tables.window_pages, chunk);
  const auto count = static_cast<std::uint32_t>(chunk.end - chunk.first);
  for (std::uint32_t base = threadIdx.x; base < count; base += kTurns * blockDim.x) {
    Entry entries[kTurns];
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const std::uint32_t c = base + static_cast<std::uint32_t>(t) * blockDim.x;
      if (c < count) entries[t] = __ldcg(source + c * stride);
    }
    if (kWindow) {
#pragma unroll
      for (int t = 0; t < kTurns; ++t) {
        const std::uint32_t c = base + static_cast<std::uint32_t>(t) * blockDim.x;
        if (c < count) window_out[c * window_stride] = window_page_of_entry(p, entries[t]);
      }
      if (out == nullptr) continue;
    }
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const std::uint32_t c = base + static_cast<std::uint32_t>(t) * blockDim.x;
      if (c < count) out[c * out_stride] = page_of_entry(p, entries[t]);
    }
  }
}

/// Four adjacent entries per thread and turn. Requires TableWork::vectors.
template <int kTurns, bool kWindow>
__device__ __forceinline__ void gather_vectors(const PrepareParams& p, const TableChunk& chunk) {
  const std::int32_t* source =
      static_cast<const std::int32_t*>(p.map.data) + chunk.row * p.map.row_stride + chunk.first;
  std::int32_t* out = chunk_begin(p.tables.pages, chunk);
  std::int32_t* window_out = chunk_begin(p.tables.window_pages, chunk);
  const auto count = static_cast<std::uint32_t>(chunk.end - chunk.first);
  const std::uint32_t vectors = count / 4;
  for (std::uint32_t base = threadIdx.x; base < vectors; base += kTurns * blockDim.x) {
    int4 entries[kTurns];
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const std::uint32_t v = base + static_cast<std::uint32_t>(t) * blockDim.x;
      if (v < vectors) entries[t] = __ldcg(reinterpret_cast<const int4*>(source) + v);
    }
    if (kWindow) {
#pragma unroll
      for (int t = 0; t < kTurns; ++t) {
        const std::uint32_t v = base + static_cast<std::uint32_t>(t) * blockDim.x;
        if (v >= vectors) continue;
        reinterpret_cast<int4*>(window_out)[v] =
            int4{window_page_of_entry(p, entries[t].x), window_page_of_entry(p, entries[t].y),
                 window_page_of_entry(p, entries[t].z), window_page_of_entry(p, entries[t].w)};
      }
      if (out == nullptr) continue;
    }
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const std::uint32_t v = base + static_cast<std::uint32_t>(t) * blockDim.x;
      if (v < vectors) reinterpret_cast<int4*>(out)[v] = entries[t];
    }
  }
  const std::uint32_t c = vectors * 4 + threadIdx.x;
  if (c >= count) return;
  const std::int32_t entry = __ldcg(source + c);
  if (out != nullptr) out[c] = entry;
  if (kWindow) window_out[c] = window_page_of_entry(p, entry);
}

__device__ __forceinline__ void gather_columns(const PrepareParams& p, const TableChunk& chunk) {
  if (p.tables.window_pages.data == nullptr) {
    if (p.tables.vectors) return gather_vectors<4, false>(p, chunk);
    if (p.map.wide) return gather_entries<std::int64_t, 4, false>(p, chunk);
    return gather_entries<std::int32_t, 6, false>(p, chunk);
  }
  if (p.tables.vectors) return gather_vectors<1, true>(p, chunk);
  if (p.map.wide) return gather_entries<std::int64_t, 4, true>(p, chunk);
  gather_entries<std::int32_t, 4, true>(p, chunk);
}

/// Writes the changes of a row over what was gathered: another block may or may not have applied
/// them to the map before this one read it. A column's changes are all made by one thread, in
/// order.
__device__ __forceinline__ void overlay_updates(const PrepareParams& p, const TableChunk& chunk) {
  __syncthreads();
  std::uint32_t ignored = 0;  // reported by the request blocks
  const UpdateRange updates = updates_of(p.updates, chunk.request, ignored);
  for (const PageUpdate* update = updates.begin; update != updates.end; ++update) {
    const std::int64_t column = update->column;
    if (column < chunk.first || column >= chunk.end) continue;
    if ((column - chunk.first) % blockDim.x != threadIdx.x) continue;
    const IntTable& pages = p.tables.pages;
    const IntTable& window = p.tables.window_pages;
    if (pages.data != nullptr) {
      pages.data[chunk.request * pages.row_stride + column * pages.column_stride] =
          page_of_entry(p, update->page);
    }
    if (window.data != nullptr) {
      window.data[chunk.request * window.row_stride + column * window.column_stride] =
          window_page_of_entry(p, update->page);
    }
  }
}

__device__ __forceinline__ std::int64_t map_row(const PrepareParams& p, std::uint32_t request) {
  std::uint32_t ignored = 0;  // reported by the request blocks
  return step::row_of_request(p.source, static_cast<std::int32_t>(request), ignored);
}

__device__ __forceinline__ void gather_chunk(const PrepareParams& p, std::uint32_t request,
                                             std::int64_t row, std::uint32_t chunk_index,
                                             std::int64_t columns) {
  TableChunk chunk;
  chunk.request = request;
  chunk.row = row;
  chunk.first = static_cast<std::int64_t>(chunk_index) * p.tables.chunk_columns;
  chunk.end = chunk.first + p.tables.chunk_columns;
  if (chunk.end > columns) chunk.end = columns;
  gather_columns(p, chunk);
  if (p.updates.begin != nullptr) overlay_updates(p, chunk);
}

__device__ __forceinline__ std::int64_t live_columns(const PrepareParams& p,
                                                     std::uint32_t request) {
  std::uint32_t ignored = 0;
  const step::Request r = step::read_request(p.source, static_cast<std::int32_t>(request), ignored);
  return step::pages_of_tokens(r.len, p.page_shift);
}

__device__ __forceinline__ std::uint32_t chunks_of(const PrepareParams& p, std::int64_t columns) {
  return (static_cast<std::uint32_t>(columns) + static_cast<std::uint32_t>(p.tables.chunk_columns) -
          1) /
         static_cast<std::uint32_t>(p.tables.chunk_columns);
}

__device__ __forceinline__ void gather_live(const PrepareParams& p, std::uint32_t block,
                                            std::uint32_t active, TableSpace& space) {
  const std::uint32_t rows_each = (active + blockDim.x - 1) / blockDim.x;
  const std::uint32_t first = threadIdx.x * rows_each;
  ScanPair mine;
  for (std::uint32_t r = first; r < first + rows_each && r < active; ++r) {
    mine.narrow += chunks_of(p, live_columns(p, r));
  }
  ScanPair total;
  space.chunk_begin[threadIdx.x] = block_exclusive_sum(mine, total, space.scan).narrow;
  __syncthreads();
  for (std::uint32_t item = block; item < total.narrow;
       item += static_cast<std::uint32_t>(p.table_blocks)) {
    std::uint32_t low = 0;  // the last thread whose rows begin at or before the item
    for (std::uint32_t high = blockDim.x; high - low > 1;) {
      const std::uint32_t middle = (low + high) / 2;
      (space.chunk_begin[middle] <= item ? low : high) = middle;
    }
    std::uint32_t chunk = item - space.chunk_begin[low];
    std::uint32_t request = low * rows_each;
    std::int64_t columns = live_columns(p, request);
    for (std::uint32_t chunks = chunks_of(p, columns); chunk >= chunks;
         chunks = chunks_of(p, columns)) {
      chunk -= chunks;
      columns = live_columns(p, ++request);
    }
    gather_chunk(p, request, map_row(p, request), chunk, columns);
  }
}

__device__ __forceinline__ void gather_dense(const PrepareParams& p, std::uint32_t block) {
  const auto per_row = static_cast<std::uint32_t>(p.tables.chunks_per_row);
  const auto requests = static_cast<std::uint32_t>(p.num_requests);
  const std::int32_t loaded_active = load_active(p);
  std::uint32_t item = block;
  std::uint32_t request = item / per_row;
  std::int64_t row = request < requests ? map_row(p, request) : 0;
  std::uint32_t ignored = 0;  // reported by the request blocks
  const std::uint32_t items = checked_active(p, loaded_active, ignored) * per_row;
  while (item < items) {
    gather_chunk(p, request, row, item % per_row, p.tables.dense_columns);
    item += static_cast<std::uint32_t>(p.table_blocks);
    request = item / per_row;
    row = request < requests ? map_row(p, request) : 0;
  }
}

__device__ __forceinline__ void gather_live_direct(const PrepareParams& p, std::uint32_t block) {
  const auto per_row = static_cast<std::uint32_t>(p.tables.chunks_per_row);
  const std::uint32_t request = block / per_row;
  const std::uint32_t chunk = block - request * per_row;
  const std::int32_t loaded_active = load_active(p);
  const std::int64_t columns = live_columns(p, request);
  const std::int64_t row = map_row(p, request);
  std::uint32_t ignored = 0;  // reported by the request blocks
  if (request >= checked_active(p, loaded_active, ignored)) return;
  if (std::int64_t{chunk} * p.tables.chunk_columns < columns) {
    gather_chunk(p, request, row, chunk, columns);
  }
}

/// Block `block` of the table blocks. All its threads call it.
__device__ __forceinline__ void prepare_tables(const PrepareParams& p, std::uint32_t block,
                                               TableSpace& space) {
  if (p.tables.dense_columns >= 0) {
    gather_dense(p, block);
    return;
  }
  if (p.tables.direct) {
    gather_live_direct(p, block);
    return;
  }
  std::uint32_t ignored = 0;  // reported by the request blocks
  gather_live(p, block, checked_active(p, load_active(p), ignored), space);
}

}  // namespace onebeat::cuda
