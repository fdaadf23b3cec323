// SPDX-License-Identifier: Apache-2.0
// What becomes of the products of queries and keys: which of them count (causality, window, chunk),
// and how they become exponents of 2 (scale, soft cap).
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

inline constexpr float kLn2 = 0.69314718055994531f;
inline constexpr float kLog2e = 1.4426950408889634f;

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

/// With a soft cap, scores are scaled before it; without, in the exponent.
class ScoreScale {
 public:
  __device__ __forceinline__ explicit ScoreScale(const DecodeParams& p) : soft_cap_(p.soft_cap) {
    pre_scale_ = p.soft_cap > 0.0f ? 2.0f * kLog2e * p.scale / p.soft_cap : 0.0f;
    unit_scale_ = p.soft_cap > 0.0f ? kLog2e : p.scale * kLog2e;
  }

  [[nodiscard]] __device__ __forceinline__ bool caps() const { return soft_cap_ > 0.0f; }

  /// Requires: caps().
  [[nodiscard]] __device__ __forceinline__ float capped(float score) const {
    // tanh(x) = 1 - 2 / (exp(2x) + 1); the hardware's own tanh is too coarse
    const float power = ptx::exp2_fast(score * pre_scale_);
    return soft_cap_ * (1.0f - __fdividef(2.0f, power + 1.0f));
  }

  /// What a score, capped if caps(), is multiplied by to be an exponent.
  [[nodiscard]] __device__ __forceinline__ float unit() const { return unit_scale_; }

 private:
  float soft_cap_, pre_scale_, unit_scale_;
};

}  // namespace onebeat::cuda
