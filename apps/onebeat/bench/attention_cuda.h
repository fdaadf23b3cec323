// SPDX-License-Identifier: Apache-2.0
// The CUDA side of `onebeat bench attention`. Only in builds with CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/geometry.h"
#include "onebeat/status.h"

namespace onebeat::cli {

struct CudaAttentionBenchOptions {
  int device = 0;
  /// "served": shapes with stored figures of other libraries; "irregular": others; "verify":
  /// several query tokens a request; "rows": from 1 to 64 query rows; "heads": every head
  /// size on the same bytes; "lens": the one of the numbers
  /// below.
  std::string set = "served";
  std::vector<std::int32_t> lens;
  KvType kv_type = KvType::kBF16;
  std::int32_t heads = 0, kv_heads = 0, head_dim = 0, page = 0;
  std::string layout = "nhd";
  std::int32_t query_tokens = 1;  ///< Of each request of "lens".
  /// Kernels or families of them, each measured on every shape in turn; empty: the default.
  std::vector<std::string> variants = {""};
  std::int32_t workers = 0;              ///< 0: tuned.
  std::int32_t least_worker_tokens = 0;  ///< Given to a worker; 0: tuned.
  bool no_overlap = false;               ///< Ordinary launches.
  /// Every shape also in batch-invariant mode, right after the normal one.
  bool batch_invariant = false;
  std::int32_t invariant_chunk = 0;  ///< Tokens of its chunks; 0: tuned.
  std::string format = "text";
};

/// Each shape is a CUDA graph of dependent launches (the output of one is the query of the next)
/// over as many sets of K and V as the L2 cannot hold; the median of several replays, divided by
/// the launches, is reported, as text or JSON.
[[nodiscard]] Result<std::string> run_cuda_attention_bench(
    const CudaAttentionBenchOptions& options);

}  // namespace onebeat::cli
