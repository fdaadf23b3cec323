// SPDX-License-Identifier: Apache-2.0
// Quantised activations as the kernels for repacked weights read them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace onebeat {

/// Numbers of 32 activations x = d * q.
struct PanelActivation {
  float d;                ///< Largest magnitude / 127.
  float s;                ///< d times the sum of q: meets the offsets of weights.
  std::int32_t minus[2];  ///< The negative sums of the first and of the last 16 q: they meet what
                          ///< is taken from the stored integers of weights.
};
static_assert(sizeof(PanelActivation) == 16);

/// A row of activations: the integers of all columns, then the numbers of each block of 32.
[[nodiscard]] constexpr std::int64_t panel_activation_bytes(std::int64_t cols) {
  const std::int64_t bytes =
      cols + cols / kQuantBlock * static_cast<std::int64_t>(sizeof(PanelActivation));
  return (bytes + 63) / 64 * 64;
}

}  // namespace onebeat
