// SPDX-License-Identifier: Apache-2.0
// `onebeat bench attention --prefill`. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::cli {

struct CudaPrefillBenchOptions {
  int device = 0;
  /// Query tokens of each request; empty: a set of shapes, with heads and pages of their own.
  std::vector<std::int32_t> lens;
  std::int32_t heads = 32, kv_heads = 8, head_dim = 128, page = 64;
  std::int32_t prefix = 0;  ///< KV tokens of each request before its query tokens.
  std::string layout = "nhd";
  std::vector<std::string> variants = {""};  ///< Kernels, in turns; empty: the default.
  std::string format = "text";
};

/// Each shape is launched several times in a row over one layer's K and V; the median of several
/// such rows, divided by the launches, is reported, as text or JSON.
[[nodiscard]] Result<std::string> run_cuda_prefill_bench(const CudaPrefillBenchOptions& options);

}  // namespace onebeat::cli
