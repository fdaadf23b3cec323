// SPDX-License-Identifier: Apache-2.0
// The kernels of prepare_step for page tables of the common kind: no plans, nothing per new token,
// entries of 32 bits that lie one behind the other. A block for every chunk of columns that there
// may be, and one, the first, that sums the lengths. Contracts P1 and P2 as in prepare_step.cu.
#include <algorithm>

#include "device/dependent_launch.cuh"
#include "device/dependent_launch.h"
#include "device/warp_sum.cuh"
#include "plan/narrow_division.h"
#include "step/cuda/narrow_tables.h"
#include "step/cuda/request_block.cuh"

namespace onebeat::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / 32;
constexpr unsigned kMoreRequests = 4;  // of a thread, where one is too few
constexpr unsigned kMostRequests = kThreads * kMoreRequests;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 24;  // blocks have 32-bit numbers

/// Where a chunk is read and written.
struct TableRun {
  const std::int32_t* entries = nullptr;
  std::int32_t* pages = nullptr;
  std::int32_t* window_pages = nullptr;
  std::uint32_t count = 0;  ///< Columns.
};

/// Lengths and their sums: all requests, kItems for each thread.
template <int kItems>
__device__ __forceinline__ void sum_lengths(const TableParams& p, std::uint32_t (&sums)[kWarps]) {
  const unsigned lane = threadIdx.x % 32;
  const std::uint32_t place = threadIdx.x * kItems;
  const std::int32_t stored_active = load_active(p);
  std::uint32_t lens[kItems] = {};
  std::uint32_t own_faults[kItems] = {};
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const auto b = static_cast<std::int32_t>(place + i);
    if (b >= p.num_requests) continue;
    lens[i] = step::read_request(p.source, b, own_faults[i]).len;
    if (p.map.data != nullptr) step::row_of_request(p.source, b, own_faults[i]);
  }
  std::uint32_t faults = 0;
  const std::uint32_t active = checked_active(p, stored_active, faults);
  std::uint32_t own = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (place + i >= active) continue;
    own += lens[i];
    faults |= own_faults[i];
  }
  const std::uint32_t scanned = warp_inclusive_sum(own, lane);
  if (lane == 31) sums[threadIdx.x / 32] = scanned;
  __syncthreads();
  const std::uint32_t of_warps = warp_inclusive_sum<kWarps>(lane < kWarps ? sums[lane] : 0, lane);
  const unsigned warp = threadIdx.x / 32;
  const std::uint32_t up_to_own = __shfl_sync(kAllLanes, of_warps, warp);
  std::uint32_t before = up_to_own - sums[warp] + scanned - own;
  const RequestOutputs& out = p.outputs;
  const auto tokens = static_cast<std::uint32_t>(p.source.query_tokens_each);
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const std::uint32_t b = place + i;
    if (b >= active) continue;
    put(out.lens, b, static_cast<std::int32_t>(lens[i]));
    put(out.cu_seqlens_k, b, static_cast<std::int32_t>(before));
    put(out.cu_seqlens_q, b, static_cast<std::int32_t>(b * tokens));
    before += lens[i];
  }
  if (threadIdx.x == kThreads - 1) {
    put(out.cu_seqlens_k, active, static_cast<std::int32_t>(up_to_own));
    put(out.cu_seqlens_q, active, static_cast<std::int32_t>(active * tokens));
  }
  report(p.status, faults);
}

__device__ __forceinline__ std::int32_t window_page(const TableParams& p, std::int32_t entry) {
  const std::int64_t slot =
      p.map.of_slots ? entry : std::int64_t{entry} * (std::int64_t{1} << p.page_shift);
  return step::window_page_of_slot(p.window, slot, p.page_shift);
}

/// Four columns per thread and turn.
template <bool kWindow, int kTurns>
__device__ __forceinline__ void copy_vectors(const TableParams& p, const TableRun& run) {
  const std::uint32_t vectors = run.count / 4;
  int4 entries[kTurns];
#pragma unroll
  for (int t = 0; t < kTurns; ++t) {
    const std::uint32_t v = threadIdx.x + t * kThreads;
    if (v < vectors) entries[t] = __ldcg(reinterpret_cast<const int4*>(run.entries) + v);
  }
#pragma unroll
  for (int t = 0; t < kTurns; ++t) {
    const std::uint32_t v = threadIdx.x + t * kThreads;
    if (v >= vectors) continue;
    const int4 e = entries[t];
    if (run.pages != nullptr) reinterpret_cast<int4*>(run.pages)[v] = e;
    if (kWindow) {
      reinterpret_cast<int4*>(run.window_pages)[v] = {window_page(p, e.x), window_page(p, e.y),
                                                      window_page(p, e.z), window_page(p, e.w)};
    }
  }
  const std::uint32_t c = vectors * 4 + threadIdx.x;
  if (c >= run.count) return;
  const std::int32_t entry = __ldcg(run.entries + c);
  if (run.pages != nullptr) run.pages[c] = entry;
  if (kWindow) run.window_pages[c] = window_page(p, entry);
}

/// One column per thread and turn.
template <bool kWindow, int kTurns>
__device__ __forceinline__ void copy_entries(const TableParams& p, const TableRun& run,
                                             std::int32_t column_shift) {
  const std::int32_t page_shift = p.map.of_slots ? p.page_shift : 0;
  std::int32_t entries[kTurns];
#pragma unroll
  for (int t = 0; t < kTurns; ++t) {
    const std::uint32_t c = threadIdx.x + t * kThreads;
    if (c < run.count) entries[t] = __ldcg(run.entries + (std::int64_t{c} << column_shift));
  }
#pragma unroll
  for (int t = 0; t < kTurns; ++t) {
    const std::uint32_t c = threadIdx.x + t * kThreads;
    if (c >= run.count) continue;
    if (run.pages != nullptr) run.pages[c] = entries[t] >> page_shift;
    if (kWindow) run.window_pages[c] = window_page(p, entries[t]);
  }
}

template <bool kWindow, bool kVector, int kTurns>
constexpr std::int32_t kChunkColumns = static_cast<std::int32_t>(kThreads) * kTurns*(kVector ? 4
                                                                                             : 1);

template <bool kWindow, bool kVector, int kTurns>
__global__ void __launch_bounds__(kThreads)
    prepare_narrow_tables(const __grid_constant__ TableParams p) {
  __shared__ std::uint32_t sums[kWarps];
  if (blockIdx.x == 0) {
    wait_for_predecessors();
    let_dependents_start();
    if (p.num_requests <= static_cast<std::int32_t>(kThreads)) {
      sum_lengths<1>(p, sums);
    } else {
      sum_lengths<kMoreRequests>(p, sums);
    }
    return;
  }
  constexpr std::int32_t kColumns = kChunkColumns<kWindow, kVector, kTurns>;
  const TableWork& tables = p.tables;
  const auto per_row = static_cast<std::uint32_t>(tables.chunks_per_row);
  const std::uint32_t request = plan::small_quotient(blockIdx.x - 1, per_row);
  const std::int64_t begin = std::int64_t{blockIdx.x - 1 - request * per_row} * kColumns;
  const std::int32_t column_shift = p.map.of_slots ? p.page_shift : 0;
  TableRun run;
  run.entries = static_cast<const std::int32_t*>(p.map.data) + (begin << column_shift);
  if (tables.pages.data != nullptr) {
    run.pages = tables.pages.data + request * tables.pages.row_stride + begin;
  }
  if (kWindow) {
    run.window_pages = tables.window_pages.data + request * tables.window_pages.row_stride + begin;
  }
  const auto first_of = [request](const step::IndexView& view) -> const void* {
    if (view.data == nullptr) return nullptr;
    return static_cast<const char*>(view.data) + request * view.stride * (view.wide ? 8 : 4);
  };
  if (threadIdx.x == 0) prefetch(first_of(p.source.rows_of));
  if (threadIdx.x == 32 && tables.dense_columns < 0 && !p.source.lens_by_row)
    prefetch(first_of(p.source.lens));
  wait_for_predecessors();
  let_dependents_start();
  const std::int32_t stored_active = load_active(p);
  std::uint32_t ignored = 0;  // reported by the first block
  const auto b = static_cast<std::int32_t>(request);
  run.entries += step::row_of_request(p.source, b, ignored) * p.map.row_stride;
  std::int64_t columns = tables.dense_columns;
  if (columns < 0) {
    columns = step::pages_of_tokens(step::read_request(p.source, b, ignored).len, p.page_shift);
  }
  if (request >= checked_active(p, stored_active, ignored) || begin >= columns) return;
  run.count = static_cast<std::uint32_t>(min(columns - begin, std::int64_t{kColumns}));
  if constexpr (kVector) {
    copy_vectors<kWindow, kTurns>(p, run);
  } else {
    copy_entries<kWindow, kTurns>(p, run, column_shift);
  }
}

struct TableKernel {
  void (*kernel)(TableParams);
  std::int32_t columns;
};

template <bool kWindow, bool kVector, int kTurns>
TableKernel table_kernel() {
  return {prepare_narrow_tables<kWindow, kVector, kTurns>, kChunkColumns<kWindow, kVector, kTurns>};
}

/// Chunks that are small where there are few, so that all threads have work, and large where there
/// are many, so that a thread has more loads under way. A translation has enough of them anyhow.
TableKernel table_kernel_for(const TableParams& p, std::int64_t columns,
                             std::int32_t multiprocessors) {
  const bool vectors = p.tables.vectors;
  if (p.tables.window_pages.data != nullptr) {
    return vectors ? table_kernel<true, true, 1>() : table_kernel<true, false, 1>();
  }
  const TableKernel small =
      vectors ? table_kernel<false, true, 1>() : table_kernel<false, false, 1>();
  const std::int64_t chunks = (columns + small.columns - 1) / small.columns * p.num_requests;
  if (chunks <= std::int64_t{4} * multiprocessors) return small;
  return vectors ? table_kernel<false, true, 4>() : table_kernel<false, false, 4>();
}

}  // namespace

bool takes_narrow_tables(const PrepareParams& p, std::int64_t most_columns) {
  const RequestOutputs& out = p.outputs;
  const bool plain_map = p.map.data != nullptr && !p.map.wide && p.map.column_stride == 1;
  const bool per_token = out.positions.data != nullptr || out.slots.data != nullptr ||
                         out.window_slots.data != nullptr;
  return p.num_plans == 0 && plain_map && !per_token && most_columns > 0 &&
         most_columns <= kMostColumns && p.num_requests > 0 &&
         p.num_requests <= static_cast<std::int32_t>(kMostRequests) && p.updates.begin == nullptr &&
         p.source.query_tokens.data == nullptr && p.tables.pages.column_stride == 1 &&
         p.tables.window_pages.column_stride == 1;
}

cudaError_t launch_narrow_tables(const TableParams& params, std::int64_t most_columns,
                                 std::int32_t multiprocessors, bool programmatic,
                                 cudaStream_t stream) {
  const TableKernel variant = table_kernel_for(params, most_columns, multiprocessors);
  TableParams p = params;
  p.tables.chunks_per_row =
      static_cast<std::int32_t>((most_columns + variant.columns - 1) / variant.columns);
  const unsigned chunks =
      static_cast<unsigned>(p.num_requests) * static_cast<unsigned>(p.tables.chunks_per_row);
  return launch_kernel(variant.kernel, {1 + chunks, kThreads}, programmatic, stream, p);
}

}  // namespace onebeat::cuda
