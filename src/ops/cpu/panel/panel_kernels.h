// SPDX-License-Identifier: Apache-2.0
// Products of quantised activations with repacked weights. An element is the sum over groups of 32
// columns, in order, of an exact integer product times the two scales, plus the sum of the offsets
// times the sums of activations: the same bits whatever the number of tokens and
// the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpu/linear_kernels.h"
#include "ops/weight.h"

namespace onebeat {

/// Quantises a row to panel_activation_bytes(cols) bytes at `out`, aligned to 64 bytes. Require the
/// instruction set of their name.
void quantize_panel_row_avx2(const float* x, std::int64_t cols, std::byte* out);
void quantize_panel_row_avx512(const float* x, std::int64_t cols, std::byte* out);

/// As LinearKernels::dot_quantized, for rows of a repacked matrix: task.row_begin is a multiple of
/// 16, and so is task.row_end or it is the matrix's end. Require AVX2, and AVX-512 with VNNI.
void dot_panels_avx2(const DotTask& task, const std::byte* x);
void dot_panels_avx512(const DotTask& task, const std::byte* x);

}  // namespace onebeat
