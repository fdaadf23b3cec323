// SPDX-License-Identifier: Apache-2.0
// How the next token is chosen from the logits.
#pragma once

#include <cstdint>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// Added to the logit of one id.
struct LogitBias {
  std::int32_t token = 0;
  float bias = 0;  ///< From -100 to 100.
};

inline constexpr std::int32_t kMaxTopLogProbs = 128;  ///< Most alternatives of one token.
inline constexpr std::int32_t kMaxLogitBiases = 4096;

/// A token is chosen in these steps:
/// 1. ids that a token mask forbids get -infinity;
/// 2. logit biases are added (those of one id add up);
/// 3. penalties: repetition, then frequency, then presence;
/// 4. temperature 0 takes the largest logit, the smallest id of equals; nothing below matters then;
/// 5. logits are divided by the temperature, the top_k largest are kept, of these the fewest whose
///    probabilities reach top_p, of these all of at least min_p times the largest probability;
/// 6. one of the rest is drawn by its share.
/// A number beyond the floats becomes the nearest of them.
struct SamplingParams {
  float temperature = 0.0f;  ///< 0 (greedy) to 1000.
  std::int32_t top_k = 0;    ///< 0: all.
  float top_p = 1.0f;        ///< Above 0, at most 1; 1: all.
  float min_p = 0.0f;        ///< 0 up to, not including, 1; 0: all.
  /// Token n of a request is drawn with a number that depends on (seed, n) alone.
  std::uint64_t seed = 0;

  /// Positive logits of tokens that the prompt or the reply holds are divided by it, others
  /// multiplied. 0.01 to 100; 1: no change.
  float repetition_penalty = 1.0f;
  /// Taken from the logits of tokens that the reply holds. -100 to 100; 0: no change.
  float presence_penalty = 0.0f;
  /// Taken from the logits of tokens that the reply holds, once for each time. -100 to 100; 0: no
  /// change.
  float frequency_penalty = 0.0f;
  std::vector<LogitBias> logit_bias = {};  ///< At most kMaxLogitBiases.

  /// -1: no log-probabilities; 0: of the chosen token; n, up to kMaxTopLogProbs: also of the n
  /// likeliest. They are the model's own: the logarithms of its softmax before any of the steps
  /// above.
  std::int32_t log_probs = -1;
};

/// Errors: kInvalidArgument naming the field, its value and what it takes.
[[nodiscard]] Status validate(const SamplingParams& params);
/// The same, and each biased id must be below `vocabulary`.
[[nodiscard]] Status validate(const SamplingParams& params, std::int32_t vocabulary);

/// Whether a choice depends on the tokens that a request holds.
[[nodiscard]] bool has_penalties(const SamplingParams& params);

/// The seed of completion n of a request that asks for several, n from 0: the request's own for the
/// first, one that depends on (seed, n) alone for the others.
[[nodiscard]] std::uint64_t completion_seed(std::uint64_t seed, std::uint64_t n);

/// An id and the natural logarithm of its probability.
struct TokenLogProb {
  std::int32_t token = 0;
  float log_prob = 0;
};

}  // namespace onebeat
