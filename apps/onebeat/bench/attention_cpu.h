// SPDX-License-Identifier: Apache-2.0
// The CPU side of `onebeat bench attention`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "onebeat/plan.h"

namespace onebeat::cli {

/// A case that has a name.
struct AttentionPreset {
  const char* name;
  const char* lens;  ///< As parse_length_list() takes them.
  std::int32_t window_left;
};

[[nodiscard]] std::span<const AttentionPreset> attention_presets();

struct CpuAttentionBenchOptions {
  std::vector<std::string> presets;  ///< Cases that take turns.
  std::vector<std::int32_t> lens;    ///< If there are any: the only case.
  AttentionGeometry geometry;        ///< Its window is the case's.
  int threads = 1;
  std::string layout = "runs";
  bool pages_in_order = false;  ///< Else in a random one.
  std::string variant;          ///< Empty: the best.
  std::int32_t passes = 1;      ///< Over all cases.
  std::string format = "text";
};

/// Decode attention beside plain reads of the same memory by the same threads, as text or JSON.
[[nodiscard]] Result<std::string> run_cpu_attention_bench(const CpuAttentionBenchOptions& options);

}  // namespace onebeat::cli
