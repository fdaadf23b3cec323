// SPDX-License-Identifier: Apache-2.0
// The compiled kernels for few rows; few_rows_kernels.cu instantiates them, linear_cuda.cpp
// chooses.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ops/cuda/few_rows_params.h"

namespace onebeat::cuda {

struct FewRowsKernel {
  std::string_view name;         ///< "mma_r32_m8", "stream_k4096", ...
  std::string_view family;       ///< "mma_r32", "stream": the same order of summation for every M.
  std::int32_t max_rows = 0;     ///< Most rows of x.
  std::int32_t max_inputs = 0;   ///< Largest K of a split; 0: any.
  std::int32_t tile_rows = 0;    ///< Rows of the weight in a tile; 0: no tiles, no splits.
  std::int32_t step_inputs = 0;  ///< K of a step; splits are whole steps.
  std::int32_t threads = 0;
  std::int32_t shared_bytes = 0;    ///< Two CTAs fit a multiprocessor.
  std::int32_t partial_floats = 0;  ///< Of a partial tile.
  void (*function)(FewRowsParams) = nullptr;
};

[[nodiscard]] std::span<const FewRowsKernel> few_rows_kernels();

}  // namespace onebeat::cuda
