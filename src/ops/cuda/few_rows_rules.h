// SPDX-License-Identifier: Apache-2.0
// Which kernel multiplies a matrix of a given shape by a given number of rows, as measured
// (docs/kernels_linear.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace onebeat::cuda {

struct FewRowsRule {
  std::string_view family;
  std::int32_t splits = 1;   ///< CTAs that share a group's rows.
  std::int32_t trigger = 0;  ///< Loads left when the next kernel may start.
  std::int32_t ctas_per_multiprocessor = 2;
};

/// Most rows that these kernels take.
inline constexpr std::int32_t kMostFewRows = 64;

/// The rule for y[rows, outputs] = x[rows, inputs] * weight^T on a device with this many
/// multiprocessors. `invariant`: one for which every output has the same order of summation
/// whatever `rows` is. Requires: 1 <= rows <= kMostFewRows.
[[nodiscard]] FewRowsRule few_rows_rule(std::int32_t outputs, std::int32_t inputs,
                                        std::int32_t rows, std::int32_t multiprocessors,
                                        bool invariant);

}  // namespace onebeat::cuda
