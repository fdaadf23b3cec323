// SPDX-License-Identifier: Apache-2.0
// Quantised activations as the portable and the AVX2 kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace onebeat {

/// 32 activations: x = d * q.
struct ActivationBlock {
  float d = 0;
  float s = 0;  ///< d times the sum of q: what a constant added to all weights of the block is
                ///< multiplied with.
  std::int8_t q[kQuantBlock] = {};
};
static_assert(sizeof(ActivationBlock) == 40);

[[nodiscard]] std::int64_t activation_row_bytes(WeightType type, std::int64_t cols);
void quantize_activations(WeightType type, const float* x, std::int64_t cols, std::byte* out);

}  // namespace onebeat
