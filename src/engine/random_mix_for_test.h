// SPDX-License-Identifier: Apache-2.0
// Random requests that come, run, are interrupted, cancelled and end together on one engine. For
// tests that compare each of them with itself alone.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/tiny_engine_for_test.h"

namespace onebeat::testing {

/// What mixes did to their requests, so that a test can say that everything happened.
struct MixFacts {
  std::int64_t preemptions = 0;
  std::int64_t cached_tokens = 0;
  int cancelled = 0;
  std::int64_t compared_tokens = 0;
};

/// Nobody runs beside a request, its prompt is one chunk, and nothing was computed before it.
inline EngineOptions options_alone(std::int32_t context) {
  EngineOptions options;
  options.threads = 1;
  options.context_tokens = context;
  options.max_requests = 4;
  options.reuse_prefixes = false;
  options.prefill_chunk = context;
  return options;
}

/// A pool that is too small for all, and chunks, threads and pipelines of all kinds.
inline EngineOptions random_options(std::mt19937& random, std::int32_t context) {
  EngineOptions options;
  options.context_tokens = context;
  options.threads = 1 + static_cast<int>(random() % 2);
  options.max_requests = 2 + static_cast<std::int32_t>(random() % 7);
  options.cache_tokens = context + 32 * static_cast<std::int64_t>(random() % 6);
  options.reuse_prefixes = random() % 4 != 0;
  const std::int32_t chunks[] = {1, 3, 17, 32, 64, 100, 256};
  options.prefill_chunk = chunks[random() % std::size(chunks)];
  options.prefill_chunk_beside_decode = chunks[random() % std::size(chunks)];
  options.steps_in_flight = 1 + static_cast<std::int32_t>(random() % 2);
  return options;
}

/// Prompts with common beginnings, so that prefixes are found; few are long.
inline Request random_request(std::mt19937& random, std::int32_t vocabulary, std::int32_t context) {
  Request request;
  std::mt19937 common(random() % 3);
  const std::uint32_t longest = random() % 4 == 0 ? static_cast<std::uint32_t>(context) - 50 : 200;
  const std::size_t length = 1 + random() % longest;
  request.prompt = random_ids(common, std::min<std::size_t>(length, random() % 400), vocabulary);
  const auto rest = random_ids(random, length - request.prompt.size(), vocabulary);
  request.prompt.insert(request.prompt.end(), rest.begin(), rest.end());
  request.max_tokens = static_cast<std::int32_t>(random() % 160);
  request.priority = static_cast<std::int32_t>(random() % 2);
  return request;
}

/// Greedy and sampled, with penalties, masks and several completions.
inline Request random_sampled_request(std::mt19937& random, std::int32_t vocabulary,
                                      std::int32_t context) {
  Request request = random_request(random, vocabulary, context);
  request.sampling.temperature = random() % 3 == 0 ? 0.0f : 1.0f;
  request.sampling.seed = random();
  request.sampling.log_probs = 0;
  if (random() % 4 == 0) request.sampling.repetition_penalty = 1.3f;
  request.completions = 1 + static_cast<std::int32_t>(random() % 2);
  if (random() % 8 == 0) {
    request.mask = [](std::int32_t, std::span<const std::int32_t> reply,
                      std::span<std::uint32_t> allowed) {  // no token twice in a row
      if (!reply.empty())
        allowed[static_cast<std::size_t>(reply.back() / 32)] &= ~(1u << (reply.back() % 32));
    };
  }
  return request;
}

/// Submits the requests at random moments, cancels some of them (`cancel_one_in` > 0), and returns
/// what was heard of each completion.
inline std::vector<std::vector<Heard>> run_mix(Engine& engine, const std::vector<Request>& requests,
                                               std::mt19937& random, unsigned cancel_one_in,
                                               MixFacts& facts) {
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<RequestId> ids;
  while (true) {
    while (listeners.size() < requests.size() && random() % 3 != 0) {
      Request request = requests[listeners.size()];
      listeners.push_back(std::make_unique<Listener>(request.completions));
      request.on_event = listeners.back()->hear();
      ids.push_back(engine.submit(std::move(request)).value());
    }
    if (!ids.empty() && cancel_one_in > 0 && random() % cancel_one_in == 0)
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
  expect_nothing_held(engine);
  return heard;
}

/// A reply in company has ended as the one alone, or was cancelled.
inline void expect_same_end(const Heard& mixed, const Heard& alone) {
  ASSERT_LE(mixed.tokens.size(), alone.tokens.size());
  if (mixed.reason == FinishReason::kCancelled) return;
  ASSERT_EQ(mixed.reason, alone.reason);
  ASSERT_EQ(mixed.tokens.size(), alone.tokens.size());
}

/// Tokens and log-probabilities, bit for bit.
inline void expect_same_bits(const Heard& mixed, const Heard& alone, MixFacts& facts) {
  expect_same_end(mixed, alone);
  for (std::size_t i = 0; i < mixed.tokens.size(); ++i) {
    ASSERT_EQ(mixed.tokens[i], alone.tokens[i]) << "token " << i;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(mixed.log_probs[i]),
              std::bit_cast<std::uint32_t>(alone.log_probs[i]))
        << "log-probability of token " << i;
    ++facts.compared_tokens;
  }
}

/// Greedy tokens, up to the first that the one alone chose by less than `margin`.
inline void expect_same_tokens_up_to_margin(const Heard& mixed, const Heard& alone, float margin,
                                            MixFacts& facts) {
  expect_same_end(mixed, alone);
  for (std::size_t i = 0; i < mixed.tokens.size() && alone.margins[i] >= margin; ++i) {
    ASSERT_EQ(mixed.tokens[i], alone.tokens[i]) << "token " << i;
    ++facts.compared_tokens;
  }
}

}  // namespace onebeat::testing
