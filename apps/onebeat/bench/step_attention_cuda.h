// SPDX-License-Identifier: Apache-2.0
// The CUDA side of `onebeat bench step-attention`. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::cli {

struct StepAttentionOptions {
  int device = 0;
  std::int32_t layers = 32;
  /// "served", "irregular", or "lens": the one shape of the five numbers below.
  std::string set = "served";
  std::vector<std::int32_t> lens;
  std::int32_t heads = 0, kv_heads = 0, head_dim = 0, page = 0;
  std::string layout = "nhd";
  bool json = false;
};

/// The attention of a whole decode step: prepare_step and one launch for each layer, in three
/// forms: planned once in the step's graph, once before it, once for each layer in it. The forms
/// take turns; medians, as text or JSON.
[[nodiscard]] Result<std::string> run_step_attention_bench(const StepAttentionOptions& options);

}  // namespace onebeat::cli
