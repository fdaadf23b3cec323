// SPDX-License-Identifier: Apache-2.0
// How the next token is chosen from the logits.
#pragma once

#include <cstdint>

#include "onebeat/status.h"

namespace onebeat {

/// Filters apply in the order of the fields: logits are divided by the temperature, the top_k
/// largest are kept, of these the fewest whose probabilities reach top_p, of these all of at least
/// min_p times the largest probability; one of the rest is drawn by its share.
struct SamplingParams {
  float temperature = 0.0f;  ///< 0: greedy, the largest logit, the smallest id of equals; nothing
                             ///< else matters then.
  std::int32_t top_k = 0;    ///< 0: all.
  float top_p = 1.0f;        ///< Above 0, at most 1; 1: all.
  float min_p = 0.0f;        ///< 0 up to, not including, 1; 0: all.
  /// Token n of a request is drawn with a number that depends on (seed, n) alone.
  std::uint64_t seed = 0;
};

/// Errors: kInvalidArgument naming the field, its value and what it takes.
[[nodiscard]] Status validate(const SamplingParams& params);

}  // namespace onebeat
