// SPDX-License-Identifier: Apache-2.0
// The inner loops of linear(), one table for each instruction set. Each result is summed in an
// order that depends on the row's length alone, never on how many tokens or rows are computed
// together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "onebeat/compute.h"
#include "ops/linear.h"
#include "ops/weight.h"

namespace onebeat {

/// Rows of a weight matrix to be multiplied with some tokens: out[t * out_stride + r] gets (or is
/// increased by) the product of weight row r with token t, for r in [row_begin, row_end) and t in
/// [0, tokens).
struct DotTask {
  WeightView weight;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t tokens = 0;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  bool add = false;  ///< Increase instead of overwrite.
};

struct LinearKernels {
  CpuIsa isa = CpuIsa::kPortable;

  /// Bytes of a row of `cols` activations quantised for weights of `type` (which must be
  /// quantised); a multiple of 64.
  std::int64_t (*quantized_row_bytes)(WeightType type, std::int64_t cols) = nullptr;
  /// Quantises activations: blocks of 32 with d = largest magnitude / 127. `out` is aligned to 64
  /// bytes.
  void (*quantize_row)(WeightType type, const float* x, std::int64_t cols,
                       std::byte* out) = nullptr;
  /// Integer products. `x`: quantised rows, one after the other.
  void (*dot_quantized)(const DotTask& task, const std::byte* x) = nullptr;

  /// The same for repacked weights (panel/panel_layout.h); null where there are no such kernels.
  /// Rows of panel_activation_bytes() bytes; task.row_begin is a multiple of 16, and so is
  /// task.row_end or it is the matrix's end.
  void (*quantize_panel_row)(const float* x, std::int64_t cols, std::byte* out) = nullptr;
  void (*dot_panels)(const DotTask& task, const std::byte* x) = nullptr;

  /// Expands one row of weights to fp32.
  void (*expand_row)(WeightType type, const std::byte* row, std::int64_t cols,
                     float* out) = nullptr;
  /// The products of one expanded row with task.tokens rows of fp32 activations; writes column
  /// task.row_begin.
  void (*dot_f32)(const DotTask& task, const float* row, const float* x,
                  std::int64_t x_stride) = nullptr;
};

/// Places [begin, end).
struct IndexRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};
/// Adds the part's bias, if it has one, to some tokens and rows of its output.
void add_bias(const LinearPart& part, IndexRange tokens, IndexRange rows);

/// Requires: supports(isa).
[[nodiscard]] const LinearKernels& linear_kernels(CpuIsa isa);

/// The tables, each in the file of its instruction set; kAmx has that of kAvx512Vnni, and
/// tiles beside it.
extern const LinearKernels kPortableLinearKernels;
extern const LinearKernels kAvx2LinearKernels;
extern const LinearKernels kAvx512VnniLinearKernels;

}  // namespace onebeat
