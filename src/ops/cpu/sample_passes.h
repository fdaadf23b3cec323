// SPDX-License-Identifier: Apache-2.0
// The passes over a whole vocabulary that choosing a token takes, compiled for each vector
// instruction set.
#pragma once

#include <cstddef>

#include "ops/sample.h"

namespace onebeat::cpu {

struct LogitRange {
  float largest = 0;    ///< -infinity if there is no number above it.
  bool usable = false;  ///< No logit is NaN or +infinity.
};
[[nodiscard]] LogitRange range_of(const float* logits, std::size_t count);

/// The index of the first element that equals `value`; `count` if there is none.
[[nodiscard]] std::size_t index_of(const float* values, std::size_t count, float value);

/// Elements whose weights are summed together.
inline constexpr std::size_t kWeightBlock = 256;

/// weights[i] = exp((logits[i] - largest) * scale), 0 below about 1e-38, and their sums over blocks
/// of kWeightBlock; returns the sum of all. Requires: no logit is above `largest`, which is finite;
/// scale is above 0 and finite.
[[nodiscard]] double exp_weights(const float* logits, std::size_t count, float largest, float scale,
                                 float* weights, double* block_sums);

/// Writes the elements above `bound` from index `from` on to `out`, until `room` are written or the
/// end is reached; `from` becomes the index behind the last one looked at. Returns how many.
[[nodiscard]] std::size_t collect_above(const float* values, std::size_t count, float bound,
                                        std::size_t& from, SampleCandidate* out, std::size_t room);

}  // namespace onebeat::cpu
