// SPDX-License-Identifier: Apache-2.0
// What a product for few rows passes to its kernel, and how its work is divided; host and device
// share it.
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace onebeat::cuda {

enum class FewRowsActivation : std::uint8_t { kNone, kSiluMul, kGeluMul };

/// y[m, n] = scale[m] * (sum over k of x[m, k] * weight[n, k]) + bias[n], then the activation over
/// pairs of n, then + residual. scale[m] is 1, or 1 / sqrt(mean of x[m]^2 + norm_epsilon). Strides
/// in elements.
struct FewRowsParams {
  const std::uint16_t* weight = nullptr;
  const std::uint16_t* x = nullptr;
  void* y = nullptr;
  const std::uint16_t* residual = nullptr;  ///< Or null; may be y.
  const float* bias = nullptr;              ///< Or null.
  float* partials = nullptr;                ///< Only if splits > 1.
  std::uint32_t* counters = nullptr;        ///< Zero, and left zero. Only if splits > 1.
  std::int64_t weight_stride = 0, x_stride = 0, y_stride = 0, residual_stride = 0;
  std::int32_t rows = 0;     ///< M, of x and y.
  std::int32_t outputs = 0;  ///< N, rows of the weight.
  std::int32_t inputs = 0;   ///< K, a multiple of 8.
  std::int32_t splits = 1;   ///< CTAs that share the rows of a group, each with a run of K.
  std::int32_t trigger = 0;  ///< Loads left when the next kernel may start.
  float norm_epsilon = -1;   ///< Negative: no norm.
  FewRowsActivation activation = FewRowsActivation::kNone;
  bool out_is_float = false;
  bool pair_stores = false;  ///< y and residual allow 4-byte (fp32: 8-byte) accesses.
};

/// The weight's rows of one group: pairs of rows stay together, for the activations' sake.
struct RowRange {
  std::int32_t begin = 0;
  std::int32_t count = 0;
};

ONEBEAT_HD constexpr RowRange group_rows(std::int32_t outputs, std::int32_t group,
                                         std::int32_t groups) {
  const std::int64_t pairs = (std::int64_t{outputs} + 1) / 2;
  const auto begin = static_cast<std::int32_t>(pairs * group / groups * 2);
  auto end = static_cast<std::int32_t>(pairs * (group + 1) / groups * 2);
  if (end > outputs) end = outputs;
  return {begin, end - begin};
}

/// Tiles of `tile_rows` in the largest group.
ONEBEAT_HD constexpr std::int32_t tiles_of_group(std::int32_t outputs, std::int32_t groups,
                                                 std::int32_t tile_rows) {
  const std::int32_t pairs = (outputs + 1) / 2;
  const std::int32_t rows = (pairs + groups - 1) / groups * 2;
  return (rows + tile_rows - 1) / tile_rows;
}

}  // namespace onebeat::cuda
