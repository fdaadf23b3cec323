// SPDX-License-Identifier: Apache-2.0
// Checks what a merge is given, and enqueues it.
#include "attention/cuda/merge_states.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "attention/merge_check.h"
#include "base/error.h"
#include "device/cuda_status.h"
#include "onebeat/attention_cuda.h"

namespace onebeat {
namespace {

using cuda::kMergePart;
using cuda::kMergeThreads;
using cuda::MergeParams;

Status check_alignment(const MergeStates& merge, const AttentionState& state) {
  const auto elements = static_cast<std::int64_t>(16 / size_of(merge.type));
  if (reinterpret_cast<std::uintptr_t>(state.rows) % 16 != 0 ||
      state.token_stride % elements != 0 || state.head_stride % elements != 0) {
    return invalid_argument(
        "rows that are merged on a device must be aligned to 16 bytes; strides are {} (token) and "
        "{} (head) elements of {} bytes",
        state.token_stride, state.head_stride, size_of(merge.type));
  }
  return {};
}

}  // namespace

Status cuda_merge_states(const MergeStates& merge, CUstream_st* stream) {
  ONEBEAT_RETURN_IF_ERROR(check_merge(merge));
  if (merge.num_tokens == 0) return {};
  MergeParams p;
  for (const AttentionState& state : merge.states) {
    ONEBEAT_RETURN_IF_ERROR(check_alignment(merge, state));
    p.states[p.num_states++] = state;
  }
  ONEBEAT_RETURN_IF_ERROR(check_alignment(merge, merge.result));
  p.result = merge.result;
  p.sinks = merge.sinks;
  p.num_heads = static_cast<std::uint32_t>(merge.num_heads);
  p.parts = static_cast<std::uint32_t>(merge.dim / kMergePart);
  p.row_threads = std::min(32u, std::bit_ceil(p.parts));
  p.rows = merge.num_tokens * merge.num_heads;
  const std::int64_t rows_of_block = kMergeThreads / p.row_threads;
  const std::int64_t blocks = (p.rows + rows_of_block - 1) / rows_of_block;
  if (blocks > 0x7fffffff) {
    return out_of_range("{} rows to merge; a launch takes {}", p.rows, rows_of_block * 0x7fffffff);
  }
  void* arguments[] = {&p};
  return cuda_status(
      cudaLaunchKernel(cuda::merge_kernel(merge.type), dim3(static_cast<unsigned>(blocks)),
                       dim3(kMergeThreads), arguments, 0, stream),
      "merge of attention states");
}

}  // namespace onebeat
