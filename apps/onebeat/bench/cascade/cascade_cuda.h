// SPDX-License-Identifier: Apache-2.0
// The CUDA side of `onebeat bench cascade`. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::cli {

/// Requests that begin with the same pages.
struct CascadeShape {
  std::int32_t heads = 32, kv_heads = 8, head_dim = 128, page = 64;
  std::int32_t requests = 64;
  std::int32_t prefix = 2048;  ///< Tokens that all share.
  std::int32_t own = 128;      ///< Tokens of each request behind them.
};

struct CascadeBenchOptions {
  int device = 0;
  std::vector<CascadeShape> shapes;
  std::int32_t least_prefix_tokens = 0;  ///< Of the prefix, given to a worker; 0: tuned.
  bool json = false;
};

/// One layer's decode attention with a cascade (three launches) and without (one), in turns, in
/// CUDA graphs over more sets of K and V than the L2 holds; outputs of both are compared. Medians,
/// as text or JSON.
[[nodiscard]] Result<std::string> run_cascade_bench(const CascadeBenchOptions& options);

}  // namespace onebeat::cli
