// SPDX-License-Identifier: Apache-2.0
// Requests to the real SmolLM2-135M-Instruct in company against the same requests alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "engine/random_mix_for_test.h"
#include "golden_logits.h"
#include "model/hub/model_cache.h"

namespace onebeat {
namespace {

using testing::Heard;
using testing::MixFacts;

constexpr std::int32_t kContext = 256;
constexpr std::size_t kPrompts = 200;
constexpr float kNarrow = 0.05f;

class CompanyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<std::filesystem::path> path = resolve_model("smollm2");
    if (!path.ok()) {
      const char* required = std::getenv("ONEBEAT_REQUIRE_MODELS");
      ASSERT_FALSE(required != nullptr && std::string(required) == "1") << path.status().message();
      GTEST_SKIP() << path.status().message();
    }
    path_ = path.value();
  }

  [[nodiscard]] std::unique_ptr<Engine> load(const EngineOptions& options) const {
    return Engine::load(path_, options).value();
  }

  std::filesystem::path path_;
};

/// Parts of the oracle's texts: what a model expects to read, each prompt another one.
std::vector<std::vector<std::int32_t>> prompts(std::mt19937& random) {
  const char* root = std::getenv("ONEBEAT_SOURCE_DIR");
  const auto golden = testing::read_golden_logits(std::string(root != nullptr ? root : ".") +
                                                  "/tests/golden/smollm2_135m_q4_1.txt");
  std::vector<std::vector<std::int32_t>> prompts;
  while (prompts.size() < kPrompts) {
    const testing::GoldenPrompt& text = golden[prompts.size() % golden.size()];
    std::vector<std::int32_t> ids = text.ids;
    ids.insert(ids.end(), text.tokens.begin(), text.tokens.end());
    const std::size_t length = 1 + random() % 30;
    const std::size_t begin = random() % (ids.size() - std::min(ids.size() - 1, length));
    const std::size_t end = std::min(ids.size(), begin + length);
    prompts.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                         ids.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return prompts;
}

TEST_F(CompanyTest, GreedyTokensOf200PromptsAreThoseAloneUpToANarrowMargin) {
  constexpr std::uint32_t kSeed = 5;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::vector<Request> requests;
  for (std::vector<std::int32_t>& prompt : prompts(random)) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = 4 + static_cast<std::int32_t>(random() % 17);
    request.sampling.log_probs = 2;
    requests.push_back(std::move(request));
  }
  EngineOptions options;
  options.threads = 2;
  options.context_tokens = kContext;
  options.max_requests = 12;
  options.cache_tokens = 512;
  options.prefill_chunk_beside_decode = 20;
  MixFacts facts;
  const auto heard = testing::run_mix(*load(options), requests, random, 0, facts);
  const auto alone = load(testing::options_alone(kContext));
  for (std::size_t r = 0; r < requests.size(); ++r) {
    SCOPED_TRACE("request " + std::to_string(r));
    testing::expect_same_tokens_up_to_margin(
        heard[r][0], testing::run_alone(*alone, requests[r])[0], kNarrow, facts);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(facts.compared_tokens, 1000);
  std::printf("%lld tokens compared\n", static_cast<long long>(facts.compared_tokens));
}

/// The tiny models' products are too small for some of the kernels that this one's take.
class SameBitsTest : public CompanyTest {
 protected:
  void expect_same_bits(ComputeMode mode, std::size_t count, unsigned longest_reply,
                        MixFacts& facts) {
    constexpr std::uint32_t kSeed = 1;
    SCOPED_TRACE("seed " + std::to_string(kSeed));
    std::mt19937 random(kSeed);
    std::vector<Request> requests;
    for (const std::vector<std::int32_t>& prompt : prompts(random)) {
      if (requests.size() == count) break;
      Request request;
      request.prompt = prompt;
      request.max_tokens = static_cast<std::int32_t>(1 + random() % longest_reply);
      request.sampling.temperature = requests.size() % 3 == 0 ? 0.0f : 1.0f;
      request.sampling.seed = random();
      request.sampling.log_probs = 0;
      requests.push_back(std::move(request));
    }
    EngineOptions options;
    options.threads = 2;
    options.context_tokens = kContext;
    options.max_requests = 9;
    options.cache_tokens = kContext;
    options.prefill_chunk = 50;
    options.prefill_chunk_beside_decode = 7;
    options.batch_invariant = true;
    options.compute = mode;
    const auto heard = testing::run_mix(*load(options), requests, random, 0, facts);
    EngineOptions single = testing::options_alone(kContext);
    single.batch_invariant = true;
    single.compute = mode;
    const auto alone = load(single);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      SCOPED_TRACE("request " + std::to_string(r));
      testing::expect_same_bits(heard[r][0], testing::run_alone(*alone, requests[r])[0], facts);
      if (HasFatalFailure()) return;
    }
  }
};

TEST_F(SameBitsTest, InIntegerProducts) {
  MixFacts facts;
  expect_same_bits(ComputeMode::kAuto, 14, 80, facts);
  EXPECT_GT(facts.compared_tokens, 300);
  EXPECT_GT(facts.preemptions, 0);
}

TEST_F(SameBitsTest, InExactProducts) {
  MixFacts facts;
  expect_same_bits(ComputeMode::kF32, 5, 12, facts);
  EXPECT_GT(facts.compared_tokens, 15);
}

}  // namespace
}  // namespace onebeat
