// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

#include "onebeat/sampling.h"

namespace onebeat {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::string refusal(void (*change)(SamplingParams&)) {
  SamplingParams params;
  change(params);
  const Status status = validate(params, 100);
  EXPECT_EQ(status.code(), status.ok() ? StatusCode::kOk : StatusCode::kInvalidArgument);
  return status.message();
}

void expect_refused(void (*change)(SamplingParams&), const std::string& part) {
  EXPECT_NE(refusal(change).find(part), std::string::npos) << refusal(change);
}

TEST(SamplingParams, NamesWhatItRefuses) {
  expect_refused([](SamplingParams& p) { p.temperature = -0.5f; }, "temperature is -0.5");
  expect_refused([](SamplingParams& p) { p.temperature = kNan; }, "temperature is nan");
  expect_refused([](SamplingParams& p) { p.temperature = kInf; }, "from 0 (greedy) to 1000");
  expect_refused([](SamplingParams& p) { p.top_k = -3; }, "top_k is -3");
  expect_refused([](SamplingParams& p) { p.top_p = 0; }, "top_p is 0");
  expect_refused([](SamplingParams& p) { p.top_p = 1.5f; }, "top_p is 1.5");
  expect_refused([](SamplingParams& p) { p.min_p = 1; }, "min_p is 1");
  expect_refused([](SamplingParams& p) { p.min_p = kNan; }, "min_p is nan");
  expect_refused([](SamplingParams& p) { p.repetition_penalty = 0; },
                 "repetition_penalty is 0; it must be from 0.01 to 100");
  expect_refused([](SamplingParams& p) { p.repetition_penalty = kNan; }, "repetition_penalty");
  expect_refused([](SamplingParams& p) { p.presence_penalty = kInf; }, "presence_penalty is inf");
  expect_refused([](SamplingParams& p) { p.frequency_penalty = -101; },
                 "frequency_penalty is -101; it must be from -100 to 100");
  expect_refused([](SamplingParams& p) { p.log_probs = 129; },
                 "log_probs is 129; it must be from -1 (none) to 128");
  expect_refused([](SamplingParams& p) { p.log_probs = -2; }, "log_probs is -2");
}

TEST(SamplingParams, NamesTheBiasThatItRefuses) {
  expect_refused(
      [](SamplingParams& p) {
        p.logit_bias = {{3, 1}, {5, 100.5f}};
      },
      "logit_bias of token 5 is 100.5; it must be from -100 to 100");
  expect_refused([](SamplingParams& p) { p.logit_bias = {{3, kNan}}; }, "logit_bias of token 3");
  expect_refused([](SamplingParams& p) { p.logit_bias = {{-1, 0}}; }, "logit_bias names token -1");
  expect_refused(
      [](SamplingParams& p) {
        p.logit_bias = {{100, 0}};
      },
      "logit_bias names token 100; the model's ids are from 0 to 99");
  expect_refused([](SamplingParams& p) { p.logit_bias.resize(5000); },
                 "logit_bias has 5000 entries; the limit is 4096");
}

TEST(SamplingParams, TakesTheEndsOfEachRange) {
  EXPECT_EQ(refusal([](SamplingParams&) {}), "");
  EXPECT_EQ(refusal([](SamplingParams& p) {
              p.temperature = 1000;
              p.top_k = std::numeric_limits<std::int32_t>::max();
              p.top_p = std::numeric_limits<float>::denorm_min();
              p.min_p = 0.999f;
              p.repetition_penalty = 0.01f;
              p.presence_penalty = -100;
              p.frequency_penalty = 100;
              p.logit_bias = {{0, -100}, {99, 100}};
              p.log_probs = kMaxTopLogProbs;
            }),
            "");
}

TEST(SamplingParams, SeedsOfCompletionsDiffer) {
  EXPECT_EQ(completion_seed(7, 0), 7u);
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (std::uint64_t n = 0; n < 100; ++n) seen.insert(completion_seed(seed, n));
  }
  EXPECT_EQ(seen.size(), 10000u);
  EXPECT_EQ(completion_seed(7, 3), completion_seed(7, 3));
}

}  // namespace
}  // namespace onebeat
