// SPDX-License-Identifier: Apache-2.0
// The expand pass of speculative decoding on the device: a warp takes a row, 32 slots at a time. A
// slot whose page differs from its neighbour's goes to the next column; columns are counted by the
// bits of a vote, so that no lane waits for another.
#include <algorithm>
#include <cstdint>

#include "base/host_device.h"
#include "device/cuda_status.h"
#include "device/dependent_launch.cuh"
#include "device/dependent_launch.h"
#include "device/warp_sum.cuh"
#include "onebeat/step_cuda.h"
#include "step/draft_expand.h"
#include "step/step_request.h"

namespace onebeat {
namespace {

constexpr unsigned kWarp = 32;
constexpr unsigned kThreads = 128;
constexpr std::int64_t kMostBlocks = 65536;

struct ExpandParams {
  step::IndexView last_page_lens;
  IndexTable slots;
  IntArray out_lens;
  IntTable page_table;
  std::int64_t rows = 0;  ///< B * top_k
  std::int32_t top_k = 1;
  std::int32_t decode_length = 0;
  std::int32_t page_shift = 0;
  std::uint32_t* status = nullptr;
};

__device__ __forceinline__ void write_length(const ExpandParams& p, std::int64_t row,
                                             std::uint32_t& faults) {
  std::int64_t last = step::load_index(p.last_page_lens, row / p.top_k);
  const std::int64_t most = 2147483647 - p.decode_length;
  if (last < 0 || last > most) {
    faults |= step::fault_bit(StepFault::kLength);
    last = last < 0 ? 0 : most;
  }
  p.out_lens.data[row * p.out_lens.stride] = static_cast<std::int32_t>(p.decode_length + last);
}

__device__ __forceinline__ void write_pages(const ExpandParams& p, std::int64_t row,
                                            std::uint32_t& faults) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::int64_t tokens = p.slots.columns;
  std::int32_t* out = p.page_table.data + row * p.page_table.row_stride;
  std::int64_t column = 0;    // of the first lane's page, were it a new one
  std::int64_t carried = -1;  // page of the last slot of the round before
  for (std::int64_t base = 0; base < tokens; base += kWarp) {
    const std::int64_t token = base + lane;
    std::int64_t page = 0;
    if (token < tokens) {
      const bool wide = p.slots.type == IndexType::kI64;
      page = step::load_index(p.slots.data, wide,
                              row * p.slots.row_stride + token * p.slots.column_stride) >>
             p.page_shift;
    }
    std::int64_t previous = __shfl_up_sync(cuda::kAllLanes, page, 1);
    if (lane == 0) previous = carried;
    const bool differs = token < tokens && (token == 0 || page != previous);
    const unsigned vote = __ballot_sync(cuda::kAllLanes, differs);
    if (differs) {
      const std::int64_t at = column + __popc(vote & ((1u << lane) - 1));
      const bool sound = page >= 0 && page <= 2147483647;
      if (!sound) faults |= step::fault_bit(StepFault::kSlot);
      if (at < p.page_table.columns) {
        out[at * p.page_table.column_stride] = sound ? static_cast<std::int32_t>(page) : 0;
      } else {
        faults |= step::fault_bit(StepFault::kRoom);
      }
    }
    column += __popc(vote);
    carried = __shfl_sync(cuda::kAllLanes, page, kWarp - 1);
  }
}

__global__ void __launch_bounds__(kThreads) expand_drafts(const __grid_constant__ ExpandParams p) {
  cuda::wait_for_predecessors();
  cuda::let_dependents_start();
  std::uint32_t faults = 0;
  const std::int64_t warps = std::int64_t{gridDim.x} * (kThreads / kWarp);
  for (std::int64_t row = std::int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
       row < p.rows; row += warps) {
    if (threadIdx.x % kWarp == 0) write_length(p, row, faults);
    if (row < p.slots.rows) write_pages(p, row, faults);
  }
  if (faults != 0 && p.status != nullptr) atomicOr(p.status, faults);
}

}  // namespace

Status prepare_draft_expand_cuda(const DraftExpandArguments& draft, const StepLaunch& launch,
                                 CUstream_st* stream) {
  ONEBEAT_RETURN_IF_ERROR(step::check_draft_shapes(draft));
  ExpandParams params;
  params.last_page_lens = step::view_of(draft.last_page_lens);
  params.slots = draft.slots;
  params.out_lens = draft.out_lens;
  params.page_table = draft.page_table;
  params.rows = std::int64_t{draft.num_requests} * draft.top_k;
  params.top_k = draft.top_k;
  params.decode_length = draft.decode_length;
  params.page_shift = step::page_shift_of(draft.page_tokens);
  params.status = launch.status;

  // Without rows there is still one block: a graph's shape does not depend on the batch.
  const std::int64_t blocks = (params.rows + kThreads / kWarp - 1) / (kThreads / kWarp);
  const auto in_grid = static_cast<unsigned>(std::clamp<std::int64_t>(blocks, 1, kMostBlocks));
  return cuda_status(
      cuda::launch_kernel(expand_drafts, {in_grid, kThreads}, launch.programmatic, stream, params),
      "prepare_draft_expand");
}

}  // namespace onebeat
