// SPDX-License-Identifier: Apache-2.0
// The CUDA side of `onebeat bench linear`. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::cli {

struct LinearBenchOptions {
  int device = 0;
  std::string model = "llama-3.1-8b";
  std::vector<std::int32_t> rows = {1, 4, 16, 32, 64};
  /// Kernels (CudaLinearOptions::variant), each measured in turn; empty: the default.
  std::vector<std::string> variants = {""};
  bool batch_invariant = false;
  bool no_overlap = false;
  std::int32_t trigger = -1;
  std::string format = "text";
};

/// Names of the models whose shapes are known, separated by commas.
[[nodiscard]] std::string linear_model_names();

/// Each product of a decode step alone, over the weights of all layers, and the whole step: all
/// layers and the head in one CUDA graph, every product reading what the one before it wrote.
/// Reports medians and shares of the measured read limit, as text or JSON.
[[nodiscard]] Result<std::string> run_linear_bench(const LinearBenchOptions& options);

}  // namespace onebeat::cli
