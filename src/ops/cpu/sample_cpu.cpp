// SPDX-License-Identifier: Apache-2.0
// Candidates are put in order only as far as a filter needs them, since sorting a vocabulary costs
// more than a layer.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "ops/sample.h"

namespace onebeat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The index of the largest logit, or -1 if one is NaN or +infinity, or all are -infinity.
std::int32_t find_largest(std::span<const float> logits) {
  std::int32_t best = -1;
  float largest = -kInfinity;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < kInfinity)) return -1;
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<std::int32_t>(i);
    }
  }
  return best;
}

}  // namespace

Status validate(const SamplingParams& params) {
  if (!(params.temperature >= 0 && params.temperature <= 1000)) {
    return invalid_argument("temperature is {}; it must be from 0 (greedy) to 1000",
                            params.temperature);
  }
  if (params.top_k < 0)
    return invalid_argument("top_k is {}; it must be at least 0 (0: all)", params.top_k);
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return invalid_argument("top_p is {}; it must be above 0 and at most 1", params.top_p);
  }
  if (!(params.min_p >= 0 && params.min_p < 1)) {
    return invalid_argument("min_p is {}; it must be at least 0 and below 1", params.min_p);
  }
  return Status();
}

double sampling_number(std::uint64_t seed, std::uint64_t index) {
  // Two rounds of a 64-bit finaliser (splitmix64) over the pair.
  const auto mix = [](std::uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  };
  return static_cast<double>(mix(mix(seed) ^ (index * 0xd1342543de82ef95ull)) >> 11) * 0x1p-53;
}

Sampler::Sampler(std::int32_t vocabulary) {
  candidates_.reserve(static_cast<std::size_t>(vocabulary));
  weights_.reserve(static_cast<std::size_t>(vocabulary));
}

Result<std::int32_t> Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                                     std::uint64_t index) {
  ONEBEAT_DCHECK(validate(params).ok());
  const std::int32_t best = find_largest(logits);
  if (best < 0)
    return internal_error("the model's logits for token {} are not finite numbers", index);
  if (params.temperature == 0) return best;

  const double largest = logits[static_cast<std::size_t>(best)];
  const auto weight = [&](float logit) { return std::exp((logit - largest) / params.temperature); };
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };

  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  }
  const std::size_t wanted =
      params.top_k == 0 ? candidates_.size()
                        : std::min(candidates_.size(), static_cast<std::size_t>(params.top_k));
  if (wanted < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(wanted),
                     candidates_.end(), before);
    candidates_.resize(wanted);
  }
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate.logit);

  // The fewest largest that reach top_p: put in order in steps, until they do.
  std::size_t kept = candidates_.size();
  if (params.top_p < 1) {
    double sum = 0;
    std::size_t sorted = 0;
    kept = 0;
    while (kept < candidates_.size() && sum < params.top_p * total) {
      if (kept == sorted) {
        const std::size_t next =
            std::min(candidates_.size(), std::max<std::size_t>(64, sorted * 4));
        std::partial_sort(candidates_.begin() + static_cast<std::ptrdiff_t>(sorted),
                          candidates_.begin() + static_cast<std::ptrdiff_t>(next),
                          candidates_.end(), before);
        sorted = next;
      }
      sum += weight(candidates_[kept++].logit);
    }
  }

  weights_.clear();
  double remaining = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const double w = weight(candidates_[i].logit);  // relative to the largest, whose weight is 1
    weights_.push_back(w < params.min_p ? 0 : w);
    remaining += weights_.back();
  }
  double place = sampling_number(params.seed, index) * remaining;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    if (weights_[i] == 0) continue;
    chosen = i;
    place -= weights_[i];
    if (place < 0) break;
  }
  return candidates_[chosen].id;
}

}  // namespace onebeat
