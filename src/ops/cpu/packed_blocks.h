// SPDX-License-Identifier: Apache-2.0
// Block types whose bits are spread over a block: all are groups of 32 small integers with a scale
// for each half and an offset.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpu/linear_kernels.h"
#include "ops/weight.h"

namespace onebeat {

/// kQ5_0, kQ5_1, kQ4_K, kQ5_K and kQ6_K.
[[nodiscard]] constexpr bool is_packed(WeightType type) {
  return type >= WeightType::kQ5_0;
}

/// 32 weights: w[i] = scale[i / 16] * q[i] + offset. Without an offset nothing is added, not even
/// 0.
struct PackedGroup {
  std::int8_t q[kQuantBlock];  ///< From -32 to 31.
  float scale[2];
  float offset;
  bool has_offset;
};

/// Group `index` of a block. Requires: is_packed(type), index below block_elements(type) / 32.
[[nodiscard]] PackedGroup unpack_group(WeightType type, const std::byte* block, int index);

/// Expands a row to fp32, with the roundings of the formats' definitions: scales are multiplied out
/// first, then scale * q, then the offset is added. Requires: is_packed(type).
void expand_packed_row(WeightType type, const std::byte* row, std::int64_t cols, float* out);

/// Integer products with rows of ActivationBlock, as LinearKernels::dot_quantized has them.
/// Requires: is_packed(task.weight.type).
void dot_packed_portable(const DotTask& task, const std::byte* x);
/// The same; requires a machine with AVX2.
void dot_packed_avx2(const DotTask& task, const std::byte* x);

}  // namespace onebeat
