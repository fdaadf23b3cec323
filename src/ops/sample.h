// SPDX-License-Identifier: Apache-2.0
// Choosing a token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "onebeat/sampling.h"

namespace onebeat {

/// A number in [0, 1) that depends on the seed and the index of the token alone.
[[nodiscard]] double sampling_number(std::uint64_t seed, std::uint64_t index);

/// Chooses tokens; keeps its working memory, so that a choice allocates nothing. For one thread at
/// a time.
class Sampler {
 public:
  explicit Sampler(std::int32_t vocabulary);

  /// The id of token `index` of a request, given its logits [vocabulary].
  /// Errors: kInternal if no logit is a number above -infinity, or one is NaN or +infinity.
  /// Requires: validate(params).ok().
  [[nodiscard]] Result<std::int32_t> sample(std::span<const float> logits,
                                            const SamplingParams& params, std::uint64_t index);

 private:
  struct Candidate {
    float logit;
    std::int32_t id;
  };
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace onebeat
