// SPDX-License-Identifier: Apache-2.0
// What happens to requests: forks, reuse, masks, order, refusals, receivers.
#include <gtest/gtest.h>

#include "engine/tiny_engine_for_test.h"

namespace onebeat {
namespace {

using testing::Heard;
using testing::ids_of;
using testing::Listener;
using testing::request_of;
using testing::run_alone;
using testing::small_options;
using testing::TinyModelFile;

TEST(EngineRequests, CompletionsShareThePromptAndDrawForThemselves) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  // The page of the prompt's end is shared, and written by each of them.
  Request request = request_of(ids_of(1, 45, file.vocabulary()), 40);
  request.sampling.temperature = 1.5f;
  request.sampling.seed = 7;
  request.completions = 4;
  const std::vector<Heard> together = run_alone(*engine, request);
  EXPECT_EQ(engine->counters().computed_prompt_tokens, 45);
  testing::expect_nothing_held(*engine);
  for (std::size_t n = 0; n < 4; ++n) {
    Request single = request_of(request.prompt, 40);
    single.sampling = request.sampling;
    single.sampling.seed = completion_seed(7, n);
    EXPECT_EQ(run_alone(*engine, single)[0].tokens, together[n].tokens) << n;
    EXPECT_NE(together[n].tokens, together[(n + 1) % 4].tokens);
  }
  // A prompt of one token is forked by the step that decodes it.
  request.prompt = {3};
  EXPECT_EQ(run_alone(*engine, request)[3].tokens.size(), 40u);
  testing::expect_nothing_held(*engine);
}

TEST(EngineRequests, AFinishedReplyLeavesItsPagesToTheNextTurn) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  Request request = request_of(ids_of(2, 70, file.vocabulary()), 60);
  const Heard first = run_alone(*engine, request)[0];
  EXPECT_EQ(first.cached_tokens, 0);
  // The next turn begins with the first one's prompt and reply.
  Request next = request;
  next.prompt.insert(next.prompt.end(), first.tokens.begin(), first.tokens.end());
  next.prompt.push_back(5);
  const Heard second = run_alone(*engine, next)[0];
  EXPECT_EQ(second.cached_tokens, 128);
  engine->drop_kept_prefixes();
  const Heard afresh = run_alone(*engine, next)[0];
  EXPECT_EQ(afresh.cached_tokens, 0);
  EXPECT_EQ(afresh.tokens, second.tokens);
  // Under another salt nothing is found.
  next.cache_salt = 1;
  EXPECT_EQ(run_alone(*engine, next)[0].cached_tokens, 0);
  // An interrupted request leaves what it computed as well.
  next.cache_salt = 2;
  Listener listener;
  next.on_event = listener.hear();
  const RequestId id = engine->submit(next).value();
  while (listener.heard[0].tokens.size() < 3) engine->step();
  EXPECT_TRUE(engine->cancel(id));
  while (engine->step()) {
  }
  EXPECT_EQ(listener.heard[0].reason, FinishReason::kCancelled);
  EXPECT_FALSE(engine->cancel(id));
  EXPECT_EQ(run_alone(*engine, next)[0].cached_tokens, 128);
}

TEST(EngineRequests, MasksDecideTokenByToken) {
  const TinyModelFile file;
  for (const std::int32_t in_flight : {1, 2}) {
    EngineOptions options = small_options();
    options.steps_in_flight = in_flight;
    const auto engine = file.load(options);
    // Every token must be the one before it plus one; others run beside it undisturbed.
    Request request = request_of({4}, 30);
    request.mask = [](std::int32_t, std::span<const std::int32_t> reply,
                      std::span<std::uint32_t> allowed) {
      std::fill(allowed.begin(), allowed.end(), 0u);
      const std::int32_t next = reply.empty() ? 0 : (reply.back() + 1) % 40;
      allowed[static_cast<std::size_t>(next / 32)] |= 1u << (next % 32);
    };
    Listener masked, free;
    request.on_event = masked.hear();
    Request other = request_of({9, 8, 7}, 30);
    const std::vector<std::int32_t> expected = run_alone(*engine, other)[0].tokens;
    other.on_event = free.hear();
    ASSERT_TRUE(engine->submit(request).ok());
    ASSERT_TRUE(engine->submit(other).ok());
    while (engine->step()) {
    }
    ASSERT_EQ(masked.heard[0].tokens.size(), 30u);
    for (std::size_t i = 0; i < 30; ++i)
      EXPECT_EQ(masked.heard[0].tokens[i], static_cast<std::int32_t>(i));
    EXPECT_EQ(free.heard[0].tokens, expected);

    // A mask that leaves nothing fails its request and no other.
    request.mask = [](std::int32_t, std::span<const std::int32_t>,
                      std::span<std::uint32_t> allowed) {
      std::fill(allowed.begin(), allowed.end(), 0u);
    };
    Listener failing, unharmed;
    request.completions = 2;
    request.prompt = ids_of(3, 50, 40);
    failing.heard.resize(2);
    request.on_event = failing.hear();
    other.on_event = unharmed.hear();
    ASSERT_TRUE(engine->submit(request).ok());
    ASSERT_TRUE(engine->submit(other).ok());
    while (engine->step()) {
    }
    for (const Heard& heard : failing.heard) {
      EXPECT_EQ(heard.reason, FinishReason::kFailed);
      EXPECT_FALSE(heard.failure.ok());
    }
    EXPECT_EQ(unharmed.heard[0].tokens, expected);
    testing::expect_nothing_held(*engine);
  }
}

TEST(EngineRequests, PriorityThenArrival) {
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.max_requests = 1;
  const auto engine = file.load(options);
  std::vector<int> order;
  const std::int32_t priorities[] = {0, 0, 5, -1, 5};
  for (int i = 0; i < 5; ++i) {
    Request request = request_of({1, 2}, 3);
    request.priority = priorities[i];
    request.on_event = [&order, i](const TokenEvent& event) {
      if (event.finished) order.push_back(i);
      return true;
    };
    ASSERT_TRUE(engine->submit(request).ok());
  }
  while (engine->step()) {
  }
  EXPECT_EQ(order, (std::vector<int>{2, 4, 0, 1, 3}));
}

TEST(EngineRequests, AShortPromptDoesNotWaitForALongOne) {
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.prefill_chunk = 16;
  const auto engine = file.load(options);
  Listener slow, quick;
  Request request = request_of(ids_of(4, 240, 40), 1);
  request.on_event = slow.hear();
  ASSERT_TRUE(engine->submit(request).ok());
  engine->step();
  request = request_of({1, 2, 3, 4}, 1);
  request.on_event = quick.hear();
  ASSERT_TRUE(engine->submit(request).ok());
  engine->step();
  EXPECT_TRUE(quick.ended());
  EXPECT_FALSE(slow.ended());
  while (engine->step()) {
  }
}

TEST(EngineRequests, RefusesByNameAndLeavesNothing) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  const auto refusal = [&](const std::function<void(Request&)>& change) {
    Request request = request_of({1, 2}, 3);
    change(request);
    return engine->submit(std::move(request)).status();
  };
  EXPECT_EQ(refusal([](Request& r) { r.prompt.clear(); }).code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refusal([](Request& r) { r.prompt[1] = 40; }).message().find("token 1 of the prompt"),
            std::string::npos);
  EXPECT_NE(refusal([](Request& r) {
              r.stop_tokens = {1, -1};
            })
                .message()
                .find("stop tokens"),
            std::string::npos);
  EXPECT_NE(refusal([](Request& r) {
              r.sampling.logit_bias = {{40, 1}};
            })
                .message()
                .find("40"),
            std::string::npos);
  EXPECT_NE(refusal([](Request& r) { r.completions = 1000000; }).message().find("from 1 to 4"),
            std::string::npos);
  EXPECT_EQ(refusal([](Request& r) { r.completions = 0; }).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(refusal([](Request& r) { r.max_tokens = -1; }).code(), StatusCode::kOutOfRange);
  EXPECT_NE(refusal([](Request& r) { r.prompt.resize(257); }).message().find("room for 256"),
            std::string::npos);
  EXPECT_FALSE(engine->step());
  testing::expect_nothing_held(*engine);
}

TEST(EngineRequests, AReceiverMaySubmitCancelAndEnd) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  Listener child;
  int seen = 0;
  Request request = request_of({1, 2, 3}, 50);
  std::optional<FinishReason> reason;
  request.on_event = [&](const TokenEvent& event) {
    if (event.finished) reason = event.reason;
    if (++seen == 3) {
      Request next = request_of({4, 5}, 6);
      next.on_event = child.hear();
      EXPECT_TRUE(engine->submit(next).ok());
    }
    return seen < 5;
  };
  ASSERT_TRUE(engine->submit(request).ok());
  while (engine->step()) {
  }
  EXPECT_EQ(reason, FinishReason::kStop);
  EXPECT_EQ(seen, 6) << "five tokens and the end";
  EXPECT_EQ(child.heard[0].tokens.size(), 6u);
  testing::expect_nothing_held(*engine);
}

}  // namespace
}  // namespace onebeat
