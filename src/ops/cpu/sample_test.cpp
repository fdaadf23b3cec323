// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace onebeat {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// A choice with everything that it depends on, owned.
struct Choice {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<std::int32_t> prompt, reply;
  std::vector<std::uint32_t> allowed;

  [[nodiscard]] std::int32_t vocabulary() const { return static_cast<std::int32_t>(logits.size()); }

  [[nodiscard]] Result<SampledToken> sample(Sampler& sampler, std::uint64_t index) const {
    TokenCounts counts;
    counts.add_prompt(prompt);
    for (const std::int32_t token : reply) counts.add_generated(token);
    return sampler.sample({logits, params, index, &counts, allowed});
  }
};

/// The logits after mask, bias and penalties, in double precision.
std::vector<double> adjusted_logits(const Choice& choice) {
  std::vector<double> logits(choice.logits.begin(), choice.logits.end());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool allowed =
        choice.allowed.empty() || (choice.allowed[i / 32] & std::uint32_t{1} << i % 32) != 0;
    if (!allowed) logits[i] = -kInf;
  }
  for (const LogitBias& bias : choice.params.logit_bias) {
    logits[static_cast<std::size_t>(bias.token)] += bias.bias;
  }
  std::map<std::int32_t, int> generated;
  for (const std::int32_t token : choice.prompt) generated.emplace(token, 0);
  for (const std::int32_t token : choice.reply) ++generated[token];
  for (const auto& [token, count] : generated) {
    double& logit = logits[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / choice.params.repetition_penalty
                      : logit * choice.params.repetition_penalty;
    logit -= static_cast<double>(choice.params.frequency_penalty) * count;
    if (count > 0) logit -= choice.params.presence_penalty;
  }
  return logits;
}

/// The probabilities of the ids that the filters leave, by sorting everything. `slack` loosens the
/// borders of top_p and min_p.
std::map<std::int32_t, double> reference_distribution(const Choice& choice, double slack) {
  const std::vector<double> logits = adjusted_logits(choice);
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<std::pair<double, std::int32_t>> sorted;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((logits[i] - largest) / choice.params.temperature);
    if (weight > 0) sorted.emplace_back(weight, static_cast<std::int32_t>(i));
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto top_k = static_cast<std::size_t>(choice.params.top_k);
  if (top_k > 0) sorted.resize(std::min(sorted.size(), top_k));
  double total = 0;
  for (const auto& [weight, id] : sorted) total += weight;
  std::map<std::int32_t, double> left;
  double sum = 0, left_total = 0;
  for (const auto& [weight, id] : sorted) {
    if (choice.params.top_p < 1 && sum >= (choice.params.top_p + slack) * total) break;
    sum += weight;
    if (weight < choice.params.min_p * (1 - slack)) continue;
    left[id] = weight;
    left_total += weight;
  }
  for (auto& [id, weight] : left) weight /= left_total;
  return left;
}

/// A vocabulary of some size with logits of some shape, and parameters of which any may be unused.
Choice random_choice(std::mt19937_64& random) {
  const auto uniform = [&](float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
  };
  const auto one_in = [&](int n) { return random() % static_cast<unsigned>(n) == 0; };
  Choice choice;
  const std::int32_t sizes[] = {1, 2, 15, 31, 33, 100, 257, 1000, 5003};
  choice.logits.resize(static_cast<std::size_t>(sizes[random() % 9]));
  const float spread = one_in(4) ? 30.0f : one_in(3) ? 0.01f : 2.0f;
  std::normal_distribution<float> normal(uniform(-20, 20), spread);
  for (float& logit : choice.logits) {
    logit = normal(random);
    if (one_in(50)) logit = -kInf;
    if (one_in(20)) logit = choice.logits[random() % choice.logits.size()];  // Equals.
  }
  choice.logits[random() % choice.logits.size()] = 21.5f;
  const auto any_id = [&] { return static_cast<std::int32_t>(random() % choice.logits.size()); };
  SamplingParams& params = choice.params;
  params.temperature = one_in(8) ? 100.0f : uniform(0.1f, 3);
  if (one_in(2)) params.top_k = 1 + static_cast<std::int32_t>(random() % (one_in(2) ? 10 : 2000));
  if (one_in(2)) params.top_p = one_in(3) ? 0.9999f : uniform(0.01f, 1);
  if (one_in(3)) params.min_p = uniform(0, 0.5f);
  if (one_in(3)) params.repetition_penalty = uniform(0.5f, 2);
  if (one_in(3)) params.presence_penalty = uniform(-2, 2);
  if (one_in(3)) params.frequency_penalty = uniform(-2, 2);
  while (!one_in(3)) params.logit_bias.push_back({any_id(), uniform(-5, 5)});
  while (!one_in(10)) choice.prompt.push_back(any_id());
  while (!one_in(10)) choice.reply.push_back(any_id());
  if (one_in(3)) {
    choice.allowed.resize(token_mask_words(choice.vocabulary()));
    for (std::uint32_t& word : choice.allowed) {
      word = one_in(3) ? 0 : one_in(2) ? 0xffffffff : static_cast<std::uint32_t>(random());
    }
    choice.allowed[0] |= 1;
    choice.logits[0] = uniform(-20, 20);
  }
  params.seed = random();
  return choice;
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallestIdOfEquals) {
  Sampler sampler(6);
  const SamplingParams greedy;
  const std::vector<float> logits = {-1.0f, 3.0f, -kInf, 3.0f, 2.0f, 0.0f};
  EXPECT_EQ(sampler.sample({logits, greedy}).value().id, 1);
  const std::vector<float> low = {-kInf, -kInf, -3e38f, -kInf, -kInf, -kInf};
  EXPECT_EQ(sampler.sample({low, greedy}).value().id, 2);
}

TEST(Sampler, GreedyFollowsMaskBiasAndPenalties) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random(seed);
    Choice choice = random_choice(random);
    choice.params.temperature = 0;
    Sampler sampler(choice.vocabulary());
    const auto chosen = choice.sample(sampler, 0);
    ASSERT_TRUE(chosen.ok()) << "seed " << seed << ": " << chosen.status().message();
    const std::vector<double> logits = adjusted_logits(choice);
    const double largest = *std::max_element(logits.begin(), logits.end());
    ASSERT_NEAR(logits[static_cast<std::size_t>(chosen->id)], largest, 1e-4) << "seed " << seed;
  }
}

TEST(Sampler, DrawsOnlyWhatTheFiltersLeave) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random(seed);
    const Choice choice = random_choice(random);
    Sampler sampler(choice.vocabulary());
    const auto left = reference_distribution(choice, 1e-5);
    for (std::uint64_t index = 0; index < 30; ++index) {
      const auto chosen = choice.sample(sampler, index);
      ASSERT_TRUE(chosen.ok()) << "seed " << seed << ": " << chosen.status().message();
      ASSERT_TRUE(left.count(chosen->id))
          << "seed " << seed << ": id " << chosen->id << " was filtered out";
    }
  }
}

TEST(Sampler, DrawsFromTheFilteredDistribution) {
  int tested = 0;
  for (std::uint64_t seed = 1; tested < 40; ++seed) {
    std::mt19937_64 random(seed);
    const Choice choice = random_choice(random);
    if (choice.vocabulary() > 300) continue;
    // Borders that rounding may move are left to the test above.
    const auto expected = reference_distribution(choice, 0);
    if (expected.size() != reference_distribution(choice, 1e-5).size()) continue;
    ++tested;
    constexpr int kDraws = 20000;
    Sampler sampler(choice.vocabulary());
    std::map<std::int32_t, int> counts;
    for (std::uint64_t i = 0; i < kDraws; ++i) ++counts[choice.sample(sampler, i).value().id];
    for (const auto& [id, probability] : expected) {
      const double deviation = std::sqrt(kDraws * probability) + 1;
      ASSERT_NEAR(counts[id], kDraws * probability, 6 * deviation)
          << "seed " << seed << " id " << id;
    }
  }
}

TEST(Sampler, DrawsFromALargeFlatVocabularyWithoutAFilter) {
  // Every block of the sums is reached, in the order of the ids.
  constexpr std::int32_t kVocabulary = 100003;
  Sampler sampler(kVocabulary);
  const std::vector<float> logits(kVocabulary, -7.0f);
  SamplingParams params;
  params.temperature = 1;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const double place = sampling_number(params.seed, i) * kVocabulary;
    ASSERT_NEAR(sampler.sample({logits, params, i}).value().id, place, 1.0) << i;
  }
  params.top_p = 0.25f;  // Of equals the smallest ids.
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_LE(sampler.sample({logits, params, i}).value().id, kVocabulary / 4 + 1) << i;
  }
}

TEST(Sampler, TakesExtremeLogitsAndTemperatures) {
  Sampler sampler(4);
  const std::vector<float> logits = {-3e38f, 3e38f, 0, -kInf};
  for (const float temperature : {1e-45f, 1e-30f, 1.0f, 1000.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    for (const float top_p : {1.0f, 1e-30f, 0.5f}) {
      params.top_p = top_p;
      EXPECT_EQ(sampler.sample({logits, params}).value().id, 1) << temperature << " " << top_p;
    }
  }
  // Penalties that lead beyond the floats.
  Choice choice;
  choice.logits = logits;
  choice.params.repetition_penalty = 0.01f;
  choice.params.logit_bias = {{1, 100}, {2, -100}, {3, 100}};
  choice.prompt = {0, 1, 2, 3};
  EXPECT_EQ(choice.sample(sampler, 0).value().id, 1);
  choice.params.repetition_penalty = 100;
  choice.prompt = {0};
  choice.allowed = {0b1001};
  EXPECT_EQ(choice.sample(sampler, 0).value().id, 0);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  Sampler sampler(40);
  for (const float temperature : {0.0f, 0.7f}) {
    SamplingParams params;
    params.temperature = temperature;
    for (const std::size_t place : {0U, 17U, 39U}) {
      for (const float bad : {kNan, kInf}) {
        std::vector<float> logits(40, 1.0f);
        logits[place] = bad;
        const Status status = sampler.sample({logits, params, 5}).status();
        EXPECT_EQ(status.code(), StatusCode::kInternal);
        EXPECT_NE(status.message().find("token 5 hold"), std::string::npos) << status.message();
        EXPECT_NE(status.message().find("at id " + std::to_string(place)), std::string::npos);
      }
    }
    const Status none = sampler.sample({std::vector<float>(40, -kInf), params}).status();
    EXPECT_EQ(none.code(), StatusCode::kInternal);
    EXPECT_NE(none.message().find("all -infinity"), std::string::npos) << none.message();
  }
}

TEST(Sampler, RefusesMasksThatLeaveNothing) {
  Sampler sampler(40);
  std::vector<float> logits(40, 1.0f);
  logits[3] = -kInf;
  for (const float temperature : {0.0f, 0.7f}) {
    SamplingParams params;
    params.temperature = temperature;
    // Bits beyond the vocabulary allow nothing, nor does the id that the model never gives.
    const std::vector<std::uint32_t> nothing = {8, 0xffffff00};
    const Status status = sampler.sample({logits, params, 2, nullptr, nothing}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("mask for token 2 allows no id"), std::string::npos);
    const std::vector<std::uint32_t> small = {8};
    EXPECT_NE(sampler.sample({logits, params, 2, nullptr, small})
                  .status()
                  .message()
                  .find("has 1 words; the model's 40 ids take 2"),
              std::string::npos);
    const std::vector<std::uint32_t> last = {0, 0x80};
    EXPECT_EQ(sampler.sample({logits, params, 2, nullptr, last}).value().id, 39);
  }
}

TEST(Sampler, LogProbabilitiesAreTheModelsOwn) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    Choice choice = random_choice(random);
    choice.params.log_probs = static_cast<std::int32_t>(random() % (kMaxTopLogProbs + 1));
    Sampler sampler(choice.vocabulary());
    const auto sampled = choice.sample(sampler, 0);
    ASSERT_TRUE(sampled.ok());
    double total = 0;
    for (const float logit : choice.logits) total += std::exp(logit - 21.5);
    const auto expected = [&](std::int32_t id) {
      return choice.logits[static_cast<std::size_t>(id)] - 21.5 - std::log(total);
    };
    ASSERT_NEAR(sampled->log_prob, expected(sampled->id), 1e-4) << "seed " << seed;

    std::vector<std::int32_t> order(choice.logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::erase_if(order, [&](std::int32_t id) { return expected(id) == -kInf; });
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return expected(a) > expected(b); });
    order.resize(std::min(order.size(), static_cast<std::size_t>(choice.params.log_probs)));
    ASSERT_EQ(sampled->top_log_probs.size(), order.size()) << "seed " << seed;
    for (std::size_t i = 0; i < order.size(); ++i) {
      ASSERT_EQ(sampled->top_log_probs[i].token, order[i]) << "seed " << seed << " place " << i;
      ASSERT_NEAR(sampled->top_log_probs[i].log_prob, expected(order[i]), 1e-4);
    }
  }
}

TEST(Sampler, GivesNoLogProbabilitiesUnasked) {
  Sampler sampler(2);
  const SamplingParams greedy;
  const auto sampled = sampler.sample({std::vector<float>{1, 2}, greedy});
  EXPECT_TRUE(std::isnan(sampled->log_prob));
  EXPECT_TRUE(sampled->top_log_probs.empty());
}

TEST(Sampler, DependsOnNothingButItsInput) {
  // One sampler for everything, against one for each choice.
  constexpr std::int32_t kVocabulary = 1000;
  Sampler shared(kVocabulary);
  std::set<std::int32_t> seen;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    std::mt19937_64 random(seed);
    Choice choice = random_choice(random);
    if (choice.vocabulary() != kVocabulary) continue;
    Sampler own(kVocabulary);
    const std::int32_t id = choice.sample(own, seed).value().id;
    EXPECT_EQ(choice.sample(shared, seed).value().id, id) << "seed " << seed;
    seen.insert(id);
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST(Sampler, OtherSeedsAndCompletionsDrawOtherTokens) {
  const std::vector<float> logits(1000, 0.0f);
  Sampler sampler(1000);
  SamplingParams one, two, completion;
  one.temperature = two.temperature = completion.temperature = 1.0f;
  one.seed = 42;
  two.seed = 43;
  completion.seed = completion_seed(42, 1);
  int equal = 0;
  std::set<std::int32_t> seen;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::int32_t id = sampler.sample({logits, one, i}).value().id;
    seen.insert(id);
    equal += id == sampler.sample({logits, two, i}).value().id ? 1 : 0;
    equal += id == sampler.sample({logits, completion, i}).value().id ? 1 : 0;
  }
  EXPECT_GT(seen.size(), 40u);
  EXPECT_LT(equal, 5);
}

}  // namespace
}  // namespace onebeat
