// SPDX-License-Identifier: Apache-2.0
// Choosing a token from logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "onebeat/sampling.h"
#include "ops/token_counts.h"

namespace onebeat {

/// A number in [0, 1) that depends on the seed and the index of the token alone.
[[nodiscard]] double sampling_number(std::uint64_t seed, std::uint64_t index);

/// Words of a token mask: bit i % 32 of word i / 32 says whether id i is allowed.
[[nodiscard]] constexpr std::size_t token_mask_words(std::int32_t vocabulary) {
  return (static_cast<std::size_t>(vocabulary) + 31) / 32;
}

/// What a choice depends on. Borrowed for the call.
struct SampleInput {
  std::span<const float> logits;  ///< [vocabulary]
  const SamplingParams& params;   ///< validate(params, vocabulary).ok()
  std::uint64_t index = 0;        ///< Of the token in the reply.
  /// The request's tokens before this one; needed if has_penalties(params).
  const TokenCounts* counts = nullptr;
  /// The ids that may be chosen, token_mask_words(vocabulary) words; empty: all. Bits beyond the
  /// vocabulary count for nothing.
  std::span<const std::uint32_t> allowed = {};
};

struct SampledToken {
  std::int32_t id = 0;
  /// NaN unless params.log_probs is at least 0.
  float log_prob = std::numeric_limits<float>::quiet_NaN();
  /// The params.log_probs likeliest, the smallest id first of equals; valid until the next choice.
  std::span<const TokenLogProb> top_log_probs = {};
};

/// One of the tokens that a filter keeps.
struct SampleCandidate {
  float value;  ///< Its logit or its weight.
  std::int32_t id;
};

/// Chooses tokens. Allocates its working memory when it is made (about 16 bytes for each id of the
/// vocabulary) and nothing in a choice; what it chooses does not depend on earlier choices. For one
/// thread at a time.
class Sampler {
 public:
  explicit Sampler(std::int32_t vocabulary);

  /// Errors: kInternal if a logit is NaN or +infinity or all are -infinity; kInvalidArgument if the
  /// mask has another size or leaves no id whose logit is above -infinity.
  [[nodiscard]] Result<SampledToken> sample(const SampleInput& input);

 private:
  struct Floats {
    const float* values;
    float largest;
  };

  [[nodiscard]] Status adjust(const SampleInput& input, Floats& logits);
  [[nodiscard]] std::int32_t draw(Floats logits, const SamplingParams& params, double number);
  [[nodiscard]] std::int32_t draw_from_all(double total, double number) const;
  void add_log_probs(const SampleInput& input, float largest, SampledToken& sampled);

  /// The `count` largest of `values`, but for those of -infinity, in candidates_, unordered.
  [[nodiscard]] std::size_t select_largest(const float* values, std::size_t count);

  std::size_t vocabulary_;
  std::unique_ptr<float[]> adjusted_;
  std::unique_ptr<float[]> weights_;
  std::unique_ptr<double[]> block_sums_;
  std::unique_ptr<SampleCandidate[]> candidates_;
  std::vector<TokenLogProb> top_;
};

}  // namespace onebeat
