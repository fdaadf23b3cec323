// SPDX-License-Identifier: Apache-2.0
// What merge_states.cpp launches and merge_states.cu runs.
#pragma once

#include <cstdint>

#include "onebeat/attention.h"

namespace onebeat::cuda {

inline constexpr int kMergeThreads = 128;
inline constexpr int kMergePart = 8;  ///< Elements of a thread.

/// The one argument of the kernels. Trivially copyable; all pointers are device memory.
struct MergeParams {
  AttentionState states[kMostMergedStates];
  AttentionState result;
  const float* sinks = nullptr;
  std::uint32_t num_states = 0;
  std::uint32_t num_heads = 1;
  std::uint32_t parts = 1;         ///< Of a row.
  std::uint32_t row_threads = 32;  ///< A power of two, at most 32.
  std::int64_t rows = 0;
};

/// A __global__ function of kMergeThreads threads that takes one MergeParams.
[[nodiscard]] const void* merge_kernel(RowType type);

}  // namespace onebeat::cuda
