// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "onebeat/sampling.h"
#include "ops/sample.h"

namespace onebeat {
namespace {

/// Two numbers into one, each bit of which depends on all of theirs.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  // Two rounds of a 64-bit finaliser (splitmix64).
  const auto finalise = [](std::uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  };
  return finalise(finalise(a) ^ (b * 0xd1342543de82ef95ull));
}

Status check_filters(const SamplingParams& params) {
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

Status check_penalties(const SamplingParams& params) {
  if (!(params.repetition_penalty >= 0.01f && params.repetition_penalty <= 100)) {
    return invalid_argument("repetition_penalty is {}; it must be from 0.01 to 100 (1: none)",
                            params.repetition_penalty);
  }
  if (!(params.presence_penalty >= -100 && params.presence_penalty <= 100)) {
    return invalid_argument("presence_penalty is {}; it must be from -100 to 100",
                            params.presence_penalty);
  }
  if (!(params.frequency_penalty >= -100 && params.frequency_penalty <= 100)) {
    return invalid_argument("frequency_penalty is {}; it must be from -100 to 100",
                            params.frequency_penalty);
  }
  return Status();
}

Status check_biases(const std::vector<LogitBias>& biases) {
  if (biases.size() > static_cast<std::size_t>(kMaxLogitBiases)) {
    return invalid_argument("logit_bias has {} entries; the limit is {}", biases.size(),
                            kMaxLogitBiases);
  }
  for (const LogitBias& bias : biases) {
    if (!(bias.bias >= -100 && bias.bias <= 100)) {
      return invalid_argument("logit_bias of token {} is {}; it must be from -100 to 100",
                              bias.token, bias.bias);
    }
    if (bias.token < 0) {
      return invalid_argument("logit_bias names token {}; ids are 0 or above", bias.token);
    }
  }
  return Status();
}

}  // namespace

Status validate(const SamplingParams& params) {
  ONEBEAT_RETURN_IF_ERROR(check_filters(params));
  ONEBEAT_RETURN_IF_ERROR(check_penalties(params));
  ONEBEAT_RETURN_IF_ERROR(check_biases(params.logit_bias));
  if (params.log_probs < -1 || params.log_probs > kMaxTopLogProbs) {
    return invalid_argument("log_probs is {}; it must be from -1 (none) to {}", params.log_probs,
                            kMaxTopLogProbs);
  }
  return Status();
}

Status validate(const SamplingParams& params, std::int32_t vocabulary) {
  ONEBEAT_RETURN_IF_ERROR(validate(params));
  for (const LogitBias& bias : params.logit_bias) {
    if (bias.token >= vocabulary) {
      return invalid_argument("logit_bias names token {}; the model's ids are from 0 to {}",
                              bias.token, vocabulary - 1);
    }
  }
  return Status();
}

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

std::uint64_t completion_seed(std::uint64_t seed, std::uint64_t n) {
  return n == 0 ? seed : mix(seed, ~n);
}

double sampling_number(std::uint64_t seed, std::uint64_t index) {
  return static_cast<double>(mix(seed, index) >> 11) * 0x1p-53;
}

}  // namespace onebeat
