// SPDX-License-Identifier: Apache-2.0
// Random mixes of requests that come, run, are interrupted and end together, against each of them
// alone.
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <vector>

#include "engine/tiny_engine_for_test.h"

namespace onebeat {
namespace {

using testing::Heard;
using testing::Listener;
using testing::TinyModelFile;

constexpr std::int32_t kContext = 700;

/// The thread sanitizer looks at some of the mixes; it takes far longer for each.
#ifdef __SANITIZE_THREAD__
constexpr std::uint32_t kOneIn = 10;
#else
constexpr std::uint32_t kOneIn = 1;
#endif

testing::TinyModel with_context(testing::TinyModel model) {
  model.context = kContext;
  return model;
}

/// Prompts with common beginnings, so that prefixes are found; few are long.
Request random_request(std::mt19937& random, std::int32_t vocabulary) {
  Request request;
  std::mt19937 common(random() % 3);
  const std::size_t length = 1 + random() % (random() % 4 == 0 ? kContext - 50 : 200);
  request.prompt =
      testing::random_ids(common, std::min<std::size_t>(length, random() % 400), vocabulary);
  const auto rest = testing::random_ids(random, length - request.prompt.size(), vocabulary);
  request.prompt.insert(request.prompt.end(), rest.begin(), rest.end());
  request.max_tokens = static_cast<std::int32_t>(random() % 160);
  return request;
}

EngineOptions plain_options() {
  EngineOptions options;
  options.threads = 1;
  options.max_requests = 4;
  options.reuse_prefixes = false;
  options.prefill_chunk = kContext;
  return options;
}

/// What a mix did to its requests, so that a test can say that everything happened.
struct MixFacts {
  std::int64_t preemptions = 0;
  std::int64_t cached_tokens = 0;
  int cancelled = 0;
};

/// Submits the requests at random moments, cancels some of them, and returns what was heard.
std::vector<std::vector<Heard>> run_mix(Engine& engine, const std::vector<Request>& requests,
                                        std::mt19937& random, int cancel_one_in, MixFacts& facts) {
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<RequestId> ids;
  while (true) {
    while (listeners.size() < requests.size() && random() % 3 != 0) {
      Request request = requests[listeners.size()];
      listeners.push_back(std::make_unique<Listener>(request.completions));
      request.on_event = listeners.back()->hear();
      ids.push_back(engine.submit(std::move(request)).value());
    }
    if (!ids.empty() && cancel_one_in > 0 && random() % static_cast<unsigned>(cancel_one_in) == 0)
      facts.cancelled += engine.cancel(ids[random() % ids.size()]) ? 1 : 0;
    if (!engine.step() && listeners.size() == requests.size()) break;
  }
  std::vector<std::vector<Heard>> heard;
  for (const auto& listener : listeners) {
    EXPECT_TRUE(listener->ended());
    heard.push_back(listener->heard);
  }
  facts.preemptions += engine.counters().preemptions;
  facts.cached_tokens += engine.counters().cached_prompt_tokens;
  testing::expect_nothing_held(engine);
  return heard;
}

/// A pool that is too small for all, and chunks, threads and pipelines of all kinds.
EngineOptions random_options(std::mt19937& random) {
  EngineOptions options;
  options.threads = 1 + static_cast<int>(random() % 2);
  options.max_requests = 2 + static_cast<std::int32_t>(random() % 7);
  options.cache_tokens = kContext + 32 * static_cast<std::int64_t>(random() % 6);
  options.reuse_prefixes = random() % 4 != 0;
  const std::int32_t chunks[] = {1, 3, 17, 32, 64, 100, 256};
  options.prefill_chunk = chunks[random() % std::size(chunks)];
  options.prefill_chunk_beside_decode = chunks[random() % std::size(chunks)];
  options.steps_in_flight = 1 + static_cast<std::int32_t>(random() % 2);
  return options;
}

TEST(EngineMix, GreedyTokensAreThoseAloneUpToANarrowMargin) {
  const TinyModelFile file(with_context({}));
  MixFacts facts;
  int compared = 0;
  const auto alone = file.load(plain_options());
  for (std::uint32_t seed = 1; seed <= 40 / kOneIn; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    EngineOptions options = random_options(random);
    options.cache_tokens = kContext;
    options.compute = seed % 2 == 0 ? ComputeMode::kF32 : ComputeMode::kAuto;
    const auto engine = file.load(options);
    std::vector<Request> requests;
    for (int i = 0; i < 12; ++i) {
      requests.push_back(random_request(random, file.vocabulary()));
      requests.back().sampling.log_probs = 2;
    }
    const auto heard = run_mix(*engine, requests, random, 80, facts);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      const Heard& mixed = heard[r][0];
      const Heard expected = testing::run_alone(*alone, requests[r])[0];
      ASSERT_LE(mixed.tokens.size(), expected.tokens.size());
      if (mixed.reason == FinishReason::kLength) {
        ASSERT_EQ(mixed.tokens.size(), expected.tokens.size());
      } else {
        ASSERT_EQ(mixed.reason, FinishReason::kCancelled);
      }
      for (std::size_t i = 0; i < mixed.tokens.size() && expected.margins[i] >= 0.05f; ++i) {
        ASSERT_EQ(mixed.tokens[i], expected.tokens[i]) << "request " << r << " token " << i;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 3000 / static_cast<int>(kOneIn));
  EXPECT_GT(facts.preemptions, 20 / kOneIn / 2);
  EXPECT_GT(facts.cached_tokens, 2000 / kOneIn / 2);
  EXPECT_GT(facts.cancelled, 20 / static_cast<int>(kOneIn) / 2);
}

void expect_same_bits(const Heard& mixed, const Heard& expected) {
  ASSERT_EQ(mixed.tokens, expected.tokens);
  for (std::size_t i = 0; i < mixed.log_probs.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(mixed.log_probs[i]),
              std::bit_cast<std::uint32_t>(expected.log_probs[i]))
        << "token " << i;
  }
}

/// Sampled as well as greedy: a log-probability that differs in its last bit is found at once, a
/// token only where it matters.
TEST(EngineMix, BatchInvariantModeGivesTheSameBitsInAnyCompany) {
  MixFacts facts;
  std::size_t tokens = 0;
  for (const bool quantised : {false, true}) {
    testing::TinyModel model = quantised ? testing::quantised_tiny_model() : testing::TinyModel();
    const TinyModelFile file(with_context(std::move(model)));
    EngineOptions options = plain_options();
    options.batch_invariant = true;
    std::unique_ptr<Engine> alone[2];
    alone[0] = file.load(options);
    options.compute = ComputeMode::kF32;
    alone[1] = file.load(options);
    for (std::uint32_t seed = 1; seed <= 100 / kOneIn; ++seed) {
      SCOPED_TRACE((quantised ? "quantised, seed " : "seed ") + std::to_string(seed));
      std::mt19937 random(seed);
      options = random_options(random);
      options.batch_invariant = true;
      const bool f32 = random() % 2 == 0;
      options.compute = f32 ? ComputeMode::kF32 : ComputeMode::kAuto;
      const auto engine = file.load(options);
      std::vector<Request> requests;
      for (int i = 0; i < 8; ++i) {
        Request request = random_request(random, file.vocabulary());
        request.sampling.temperature = random() % 3 == 0 ? 0.0f : 1.0f;
        request.sampling.seed = random();
        request.sampling.log_probs = 0;
        if (random() % 4 == 0) request.sampling.repetition_penalty = 1.3f;
        request.completions = 1 + static_cast<std::int32_t>(random() % 2);
        requests.push_back(std::move(request));
      }
      const auto heard = run_mix(*engine, requests, random, 0, facts);
      for (std::size_t r = 0; r < requests.size(); ++r) {
        const auto expected = testing::run_alone(*alone[f32 ? 1 : 0], requests[r]);
        for (std::size_t n = 0; n < expected.size(); ++n) {
          SCOPED_TRACE("request " + std::to_string(r) + " completion " + std::to_string(n));
          expect_same_bits(heard[r][n], expected[n]);
          tokens += expected[n].tokens.size();
        }
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(tokens, 20000u / kOneIn);
  EXPECT_GT(facts.preemptions, 100 / kOneIn / 2);
  EXPECT_GT(facts.cached_tokens, 5000 / kOneIn / 2);
}

}  // namespace
}  // namespace onebeat
