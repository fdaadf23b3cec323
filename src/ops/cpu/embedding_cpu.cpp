// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "base/error.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/panel/panel_layout.h"
#include "ops/embedding.h"

namespace onebeat {

Status embed_tokens(const WeightView& table, std::span<const std::int32_t> tokens, CpuIsa isa,
                    Matrix out, float scale) {
  ONEBEAT_CHECK(out.rows == static_cast<std::int64_t>(tokens.size()) && out.cols == table.cols);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= table.rows) {
      return out_of_range("token {} has id {}; the model's vocabulary has ids from 0 to {}", t,
                          tokens[t], table.rows - 1);
    }
  }
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    float* row = out.row(static_cast<std::int64_t>(t));
    if (table.layout == WeightLayout::kPanels) {
      expand_panel_row(table, tokens[t], row);
    } else {
      linear_kernels(isa).expand_row(table.type, table.row(tokens[t]), table.cols, row);
    }
    if (scale == 1.0f) continue;
    for (std::int64_t c = 0; c < table.cols; ++c) row[c] *= scale;
  }
  return Status();
}

}  // namespace onebeat
