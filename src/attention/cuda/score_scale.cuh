// SPDX-License-Identifier: Apache-2.0
// From products of queries and keys to exponents of 2.
#pragma once

#include "attention/cuda/decode_params.h"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

inline constexpr float kLn2 = 0.69314718055994531f;
inline constexpr float kLog2e = 1.4426950408889634f;

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
