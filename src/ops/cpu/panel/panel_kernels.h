// SPDX-License-Identifier: Apache-2.0
// Products of quantised activations with repacked weights. An element is the sum over groups of 32
// columns, in order, of an exact integer product times the two scales, plus the sum of the offsets
// times the sums of activations: the same bits whatever the number of tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpu/linear_kernels.h"
#include "ops/weight.h"

namespace onebeat {

/// Quantises a row to panel_activation_bytes(cols) bytes at `out`, aligned to 64 bytes. Requires:
/// AVX-512 with VNNI.
void quantize_panel_row(const float* x, std::int64_t cols, std::byte* out);

/// As LinearKernels::dot_quantized, for rows of a repacked matrix: task.row_begin is a multiple of
/// 16, and so is task.row_end or it is the matrix's end. Requires: AVX-512 with VNNI.
void dot_panels(const DotTask& task, const std::byte* x);

}  // namespace onebeat
