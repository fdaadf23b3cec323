// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace onebeat {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// The ids that the filters leave, with their probabilities, computed by sorting everything.
std::map<std::int32_t, double> expected_distribution(const std::vector<float>& logits,
                                                     const SamplingParams& params) {
  std::vector<std::pair<double, std::int32_t>> sorted;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    sorted.emplace_back(std::exp(logits[i] / params.temperature), static_cast<std::int32_t>(i));
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](auto& a, auto& b) { return a.first > b.first; });
  if (params.top_k > 0)
    sorted.resize(std::min(sorted.size(), static_cast<std::size_t>(params.top_k)));
  double total = 0;
  for (const auto& [weight, id] : sorted) total += weight;
  std::map<std::int32_t, double> left;
  double sum = 0, left_total = 0;
  for (const auto& [weight, id] : sorted) {
    if (sum >= params.top_p * total && params.top_p < 1) break;
    sum += weight;
    if (weight < params.min_p * sorted[0].first) continue;
    left[id] = weight;
    left_total += weight;
  }
  for (auto& [id, weight] : left) weight /= left_total;
  return left;
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallestIdOfEquals) {
  Sampler sampler(6);
  const std::vector<float> logits = {-1.0f, 3.0f, -kInf, 3.0f, 2.0f, 0.0f};
  EXPECT_EQ(sampler.sample(logits, {}, 0).value(), 1);
  const std::vector<float> low = {-kInf, -1e38f, -kInf};
  EXPECT_EQ(sampler.sample(low, {}, 0).value(), 1);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  Sampler sampler(3);
  for (const float temperature : {0.0f, 0.7f}) {
    SamplingParams params;
    params.temperature = temperature;
    EXPECT_EQ(sampler.sample(std::vector<float>{1, kNan, 2}, params, 0).status().code(),
              StatusCode::kInternal);
    EXPECT_EQ(sampler.sample(std::vector<float>{1, kInf, 2}, params, 0).status().code(),
              StatusCode::kInternal);
    EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, -kInf}, params, 0).status().code(),
              StatusCode::kInternal);
  }
}

TEST(Sampler, DrawsFromTheFilteredDistribution) {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> logits(300);
  for (float& logit : logits) logit = normal(random);
  const SamplingParams cases[] = {{1.0f, 0, 1.0f, 0.0f, 1},   {0.7f, 5, 1.0f, 0.0f, 2},
                                  {1.3f, 0, 0.6f, 0.0f, 3},   {1.0f, 0, 1.0f, 0.2f, 4},
                                  {1.0f, 40, 0.9f, 0.05f, 5}, {2.0f, 0, 0.99f, 0.0f, 6},
                                  {1.0f, 1, 1.0f, 0.0f, 7}};
  Sampler sampler(300);
  for (const SamplingParams& params : cases) {
    const auto expected = expected_distribution(logits, params);
    constexpr int kDraws = 40000;
    std::map<std::int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i) {
      ++counts[sampler.sample(logits, params, static_cast<std::uint64_t>(i)).value()];
    }
    for (const auto& [id, count] : counts)
      ASSERT_TRUE(expected.count(id)) << "id " << id << " was filtered out";
    for (const auto& [id, probability] : expected) {
      const double deviation = std::sqrt(kDraws * probability) + 1;
      ASSERT_NEAR(counts[id], kDraws * probability, 6 * deviation)
          << "seed " << params.seed << " id " << id;
    }
  }
}

TEST(Sampler, DependsOnSeedAndIndexAlone) {
  std::vector<float> logits(1000, 0.0f);
  SamplingParams params;
  params.temperature = 1.0f;
  params.seed = 42;
  Sampler one(1000), two(1000);
  std::set<std::int32_t> seen;
  for (std::uint64_t i = 0; i < 50; ++i) seen.insert(one.sample(logits, params, i).value());
  for (std::uint64_t i = 50; i-- > 0;) {
    EXPECT_EQ(one.sample(logits, params, i).value(), two.sample(logits, params, i).value());
  }
  EXPECT_GT(seen.size(), 40u);
  SamplingParams other = params;
  other.seed = 43;
  int equal = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    equal += one.sample(logits, params, i).value() == one.sample(logits, other, i).value();
  }
  EXPECT_LT(equal, 5);
}

TEST(SamplingParams, NamesWhatItRefuses) {
  const auto message = [](SamplingParams params) { return validate(params).message(); };
  EXPECT_NE(message({-0.5f, 0, 1, 0, 0}).find("temperature is -0.5"), std::string::npos);
  EXPECT_NE(message({kNan, 0, 1, 0, 0}).find("temperature"), std::string::npos);
  EXPECT_NE(message({1, -3, 1, 0, 0}).find("top_k is -3"), std::string::npos);
  EXPECT_NE(message({1, 0, 0, 0, 0}).find("top_p is 0"), std::string::npos);
  EXPECT_NE(message({1, 0, 1, 1, 0}).find("min_p is 1"), std::string::npos);
  EXPECT_TRUE(validate(SamplingParams{}).ok());
}

}  // namespace
}  // namespace onebeat
