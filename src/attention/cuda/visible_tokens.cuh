// SPDX-License-Identifier: Apache-2.0
// Which KV tokens a query sees: causality, window and chunk.
#pragma once

#include <cstdint>

#include "attention/cuda/decode_params.h"

namespace onebeat::cuda {

/// Query token `token` of a unit's request sees KV tokens [low, high).
struct VisibleTokens {
  std::uint32_t low = 0, high = 0;

  template <typename Walk>
  __device__ __forceinline__ VisibleTokens(const DecodeParams& p, const Walk& unit,
                                           std::uint32_t token) {
    const std::uint32_t behind = unit.query_tokens - token;  // its position is len - behind
    const std::uint32_t position = unit.len >= behind ? unit.len - behind : 0;
    if (p.window_left >= 0) {
      const auto window = static_cast<std::uint32_t>(p.window_left);
      low = position > window ? position - window : 0;
    }
    high = p.causal != 0 ? min(position + 1, unit.len) : unit.len;
    if (p.chunk_tokens != 0) {
      const std::uint32_t chunk = position / p.chunk_tokens * p.chunk_tokens;
      low = max(low, chunk);
      high = min(high, chunk + p.chunk_tokens);
    }
  }
};

}  // namespace onebeat::cuda
