// SPDX-License-Identifier: Apache-2.0
// A vocabulary has up to some 260,000 ids, and sorting them would cost more than a layer. So a few
// passes in vectors find the ids that a filter can keep at all, by a bound on their weights, and
// only these are looked at one by one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "ops/cpu/sample_passes.h"
#include "ops/sample.h"

namespace onebeat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargestFloat = std::numeric_limits<float>::max();

bool before(const SampleCandidate& a, const SampleCandidate& b) {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

double sum_of(std::span<const SampleCandidate> candidates) {
  double sum = 0;
  for (const SampleCandidate& candidate : candidates) sum += candidate.value;
  return sum;
}

Status no_numbers(std::span<const float> logits, std::uint64_t index) {
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] < kInfinity) continue;
    return internal_error("the model's logits for token {} hold {} at id {}; they must be numbers",
                          index, logits[id], id);
  }
  return internal_error("the model's logits for token {} are all -infinity", index);
}

void copy_allowed(std::span<const float> logits, std::span<const std::uint32_t> allowed,
                  float* out) {
  for (std::size_t begin = 0; begin < logits.size(); begin += 32) {
    const std::size_t count = std::min<std::size_t>(32, logits.size() - begin);
    const std::uint32_t bits = allowed[begin / 32];
    if (bits == 0xffffffff) {
      std::memcpy(out + begin, logits.data() + begin, count * sizeof(float));
      continue;
    }
    for (std::size_t i = 0; i < count; ++i) {
      out[begin + i] = (bits >> i & 1) != 0 ? logits[begin + i] : -kInfinity;
    }
  }
}

void penalise(const SamplingParams& params, std::span<const TokenCounts::Entry> entries,
              std::span<float> logits) {
  for (const TokenCounts::Entry& entry : entries) {
    ONEBEAT_DCHECK(entry.token >= 0 && static_cast<std::size_t>(entry.token) < logits.size());
    float& logit = logits[static_cast<std::size_t>(entry.token)];
    if (logit == -kInfinity) continue;
    const float repeated =
        logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    const float taken = entry.generated == 0
                            ? 0
                            : params.frequency_penalty * static_cast<float>(entry.generated) +
                                  params.presence_penalty;
    logit = std::clamp(repeated - taken, -kLargestFloat, kLargestFloat);
  }
}

/// Brings the fewest largest candidates whose weights reach `wanted` to the front and returns how
/// many they are. Halves the range in which the last of them lies, so that nothing is sorted.
std::size_t select_mass(std::span<SampleCandidate> candidates, double wanted) {
  std::size_t low = 0, high = candidates.size();
  double sum = 0;  // Of the candidates below `low`, which are larger than all others.
  while (high - low > 32) {
    const std::size_t middle = low + (high - low) / 2;
    std::nth_element(candidates.begin() + static_cast<std::ptrdiff_t>(low),
                     candidates.begin() + static_cast<std::ptrdiff_t>(middle),
                     candidates.begin() + static_cast<std::ptrdiff_t>(high), before);
    const double half = sum_of(candidates.subspan(low, middle - low));
    if (sum + half >= wanted) {
      high = middle;
    } else {
      sum += half;
      low = middle;
    }
  }
  std::sort(candidates.begin() + static_cast<std::ptrdiff_t>(low),
            candidates.begin() + static_cast<std::ptrdiff_t>(high), before);
  while (low < high && sum < wanted) sum += candidates[low++].value;
  return low;
}

/// Draws one by its share; `number` is from 0 up to, not including, 1.
std::int32_t draw_from(std::span<const SampleCandidate> candidates, double number) {
  double place = number * sum_of(candidates);
  std::int32_t chosen = candidates.front().id;
  for (const SampleCandidate& candidate : candidates) {
    if (candidate.value == 0) continue;
    chosen = candidate.id;
    place -= candidate.value;
    if (place < 0) break;
  }
  return chosen;
}

}  // namespace

Sampler::Sampler(std::int32_t vocabulary)
    : vocabulary_(static_cast<std::size_t>(vocabulary)),
      adjusted_(new float[vocabulary_]),
      weights_(new float[vocabulary_]),
      block_sums_(new double[vocabulary_ / cpu::kWeightBlock + 1]),
      candidates_(new SampleCandidate[vocabulary_]) {
  top_.reserve(static_cast<std::size_t>(kMaxTopLogProbs));
}

Result<SampledToken> Sampler::sample(const SampleInput& input) {
  ONEBEAT_CHECK(input.logits.size() == vocabulary_);
  ONEBEAT_DCHECK(validate(input.params, static_cast<std::int32_t>(vocabulary_)).ok());
  const cpu::LogitRange range = cpu::range_of(input.logits.data(), vocabulary_);
  if (!range.usable || range.largest == -kInfinity) return no_numbers(input.logits, input.index);

  Floats logits = {input.logits.data(), range.largest};
  ONEBEAT_RETURN_IF_ERROR(adjust(input, logits));
  SampledToken sampled;
  if (input.params.temperature == 0) {
    sampled.id =
        static_cast<std::int32_t>(cpu::index_of(logits.values, vocabulary_, logits.largest));
  } else {
    sampled.id = draw(logits, input.params, sampling_number(input.params.seed, input.index));
  }
  if (input.params.log_probs >= 0) add_log_probs(input, range.largest, sampled);
  return sampled;
}

Status Sampler::adjust(const SampleInput& input, Floats& logits) {
  const SamplingParams& params = input.params;
  const bool penalties = has_penalties(params);
  if (input.allowed.empty() && params.logit_bias.empty() && !penalties) return Status();
  const std::span<float> adjusted(adjusted_.get(), vocabulary_);
  if (input.allowed.empty()) {
    std::copy(input.logits.begin(), input.logits.end(), adjusted.begin());
  } else {
    const std::size_t words = token_mask_words(static_cast<std::int32_t>(vocabulary_));
    if (input.allowed.size() != words) {
      return invalid_argument("the token mask has {} words; the model's {} ids take {}",
                              input.allowed.size(), vocabulary_, words);
    }
    copy_allowed(input.logits, input.allowed, adjusted.data());
  }
  for (const LogitBias& bias : params.logit_bias) {
    float& logit = adjusted[static_cast<std::size_t>(bias.token)];
    logit = std::min(logit + bias.bias, kLargestFloat);  // -infinity stays.
  }
  if (penalties) {
    ONEBEAT_CHECK(input.counts != nullptr);
    penalise(params, input.counts->entries(), adjusted);
  }
  logits = {adjusted.data(), cpu::range_of(adjusted.data(), vocabulary_).largest};
  if (logits.largest == -kInfinity) {
    return invalid_argument("the token mask for token {} allows no id that the model can give",
                            input.index);
  }
  return Status();
}

std::int32_t Sampler::draw(Floats logits, const SamplingParams& params, double number) {
  const std::size_t top_k = static_cast<std::size_t>(params.top_k);
  // An infinite factor would make NaN of the largest.
  const float scale = std::min(1.0f / params.temperature, kLargestFloat);
  std::span<SampleCandidate> candidates;
  double total = 0;
  if (top_k > 0 && top_k < vocabulary_) {
    candidates = {candidates_.get(), select_largest(logits.values, top_k)};
    for (SampleCandidate& candidate : candidates) {
      candidate.value = std::exp((candidate.value - logits.largest) * scale);
    }
    total = sum_of(candidates);
  } else {
    total = cpu::exp_weights(logits.values, vocabulary_, logits.largest, scale, weights_.get(),
                             block_sums_.get());
    if (params.top_p == 1 && params.min_p == 0) return draw_from_all(total, number);
    // All ids whose weights are below (1 - top_p) / vocabulary of the total have less than 1 -
    // top_p of it together, so that the others reach top_p. A little less, for rounding.
    const double unreached = (1.0 - params.top_p) * total / static_cast<double>(vocabulary_);
    const double bound = params.top_p == 1 ? params.min_p : unreached;
    std::size_t from = 0;
    const std::size_t count =
        cpu::collect_above(weights_.get(), vocabulary_, static_cast<float>(bound * 0.999), from,
                           candidates_.get(), vocabulary_);
    candidates = {candidates_.get(), count};
  }
  if (params.top_p < 1) {
    candidates = candidates.first(select_mass(candidates, params.top_p * total));
  }
  for (SampleCandidate& candidate : candidates) {
    if (candidate.value < params.min_p) candidate.value = 0;
  }
  return draw_from(candidates, number);
}

std::int32_t Sampler::draw_from_all(double total, double number) const {
  double place = number * total;
  const std::size_t blocks = (vocabulary_ + cpu::kWeightBlock - 1) / cpu::kWeightBlock;
  std::size_t block = 0;
  while (block + 1 < blocks && place >= block_sums_[block]) place -= block_sums_[block++];
  const std::size_t end = std::min(vocabulary_, (block + 1) * cpu::kWeightBlock);
  for (std::size_t i = block * cpu::kWeightBlock; i < end; ++i) {
    place -= weights_[i];
    if (place < 0 && weights_[i] > 0) return static_cast<std::int32_t>(i);
  }
  // Rounding led past the block's last weight.
  std::size_t last = end - 1;
  while (last > 0 && weights_[last] == 0) --last;
  return static_cast<std::int32_t>(last);
}

std::size_t Sampler::select_largest(const float* values, std::size_t count) {
  SampleCandidate* const out = candidates_.get();
  // Room for twice as many: when it is full, the larger half stays and bounds what comes after.
  const std::size_t room = std::min(vocabulary_, 2 * std::min(count, vocabulary_));
  float bound = -kInfinity;
  std::size_t from = 0, kept = 0;
  while (true) {
    kept += cpu::collect_above(values, vocabulary_, bound, from, out + kept, room - kept);
    if (kept <= count) return kept;
    std::nth_element(out, out + count - 1, out + kept, before);
    kept = count;
    if (from == vocabulary_) return kept;
    bound = out[count - 1].value;  // An equal one that comes later has a larger id.
  }
}

void Sampler::add_log_probs(const SampleInput& input, float largest, SampledToken& sampled) {
  const double total = cpu::exp_weights(input.logits.data(), vocabulary_, largest, 1.0f,
                                        weights_.get(), block_sums_.get());
  const double log_total = static_cast<double>(largest) + std::log(total);
  const auto log_prob = [&](float logit) { return static_cast<float>(logit - log_total); };
  sampled.log_prob = log_prob(input.logits[static_cast<std::size_t>(sampled.id)]);
  const auto wanted = static_cast<std::size_t>(input.params.log_probs);
  if (wanted == 0) return;
  const std::size_t count = select_largest(input.logits.data(), wanted);
  std::sort(candidates_.get(), candidates_.get() + count, before);
  top_.clear();
  for (std::size_t i = 0; i < count; ++i) {
    top_.push_back({candidates_[i].id, log_prob(candidates_[i].value)});
  }
  sampled.top_log_probs = top_;
}

}  // namespace onebeat
