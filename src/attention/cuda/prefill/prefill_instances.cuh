// SPDX-License-Identifier: Apache-2.0
// How a shape becomes an element of the list of kernels.
#pragma once

#include <string_view>

#include "attention/cuda/prefill/prefill_kernel.cuh"
#include "attention/cuda/prefill/prefill_kernels.h"

namespace onebeat::cuda {

template <typename S>
PrefillKernel prefill_kernel_of(std::string_view name) {
  // A box is at least 8 rows, the height of the pattern in which panels are permuted.
  return {{name, S::Element::kKvType, S::D, S::kRows, S::kTileTokens, S::kBoxes ? 8 : 1,
           S::kThreads, S::kSharedBytes},
          S::kBoxes,
          reinterpret_cast<const void*>(&prefill_wgmma<S>)};
}

}  // namespace onebeat::cuda
