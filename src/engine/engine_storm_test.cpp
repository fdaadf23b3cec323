// SPDX-License-Identifier: Apache-2.0
// Many requests, careless ones, cancellations from everywhere, engines that stop: nobody is harmed
// and every page comes back.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "engine/tiny_engine_for_test.h"

namespace onebeat {
namespace {

using testing::ids_of;
using testing::Listener;
using testing::request_of;
using testing::run_alone;
using testing::small_options;
using testing::TinyModelFile;

TEST(EngineStorm, AFullQueueRefusesAndTakesAgain) {
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.max_waiting = 3;
  options.max_requests = 1;
  const auto engine = file.load(options);
  Listener listeners[5];
  std::vector<RequestId> ids;
  for (Listener& listener : listeners) {
    Request request = request_of({1, 2, 3}, 5);
    request.on_event = listener.hear();
    const Result<RequestId> id = engine->submit(request);
    if (&listener - listeners < 3) {
      ASSERT_TRUE(id.ok());
      ids.push_back(id.value());
    } else {
      EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
      EXPECT_NE(id.status().message().find("3 requests wait"), std::string::npos);
    }
  }
  EXPECT_EQ(engine->load_now().waiting_requests, 3);
  ASSERT_TRUE(engine->step());
  EXPECT_EQ(engine->load_now().waiting_requests, 2);
  ASSERT_TRUE(engine->submit(request_of({1}, 2)).ok());
  EXPECT_FALSE(engine->submit(request_of({1}, 2)).ok());
  EXPECT_TRUE(engine->cancel(ids[2]));
  engine->step();
  EXPECT_TRUE(engine->submit(request_of({1}, 2)).ok());
  while (engine->step()) {
  }
  EXPECT_EQ(listeners[0].heard[0].tokens.size(), 5u);
  EXPECT_EQ(listeners[2].heard[0].reason, FinishReason::kCancelled);
  EXPECT_EQ(listeners[3].ends, 0) << "a refused request has no events";
  testing::expect_nothing_held(*engine);
}

/// The sanitizers look at fewer; they take far longer for each.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kOneIn = 10;
#else
constexpr int kOneIn = 1;
#endif

/// Parameters as a careless or hostile client sends them.
Request careless_request(std::mt19937& random) {
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  Request request;
  request.prompt = testing::random_ids(random, random() % (one_in(10) ? 300 : 60), 40);
  if (one_in(20) && !request.prompt.empty()) request.prompt.back() = one_in(2) ? -1 : 40;
  request.max_tokens = one_in(30) ? -1 : static_cast<std::int32_t>(random() % 12);
  if (one_in(50)) request.max_tokens = std::numeric_limits<std::int32_t>::max();
  request.completions = one_in(10) ? static_cast<std::int32_t>(random() % 7) : 1;
  if (one_in(5)) request.stop_tokens = {static_cast<std::int32_t>(random() % 42)};
  request.priority = static_cast<std::int32_t>(random() % 3);
  SamplingParams& sampling = request.sampling;
  const float odd[] = {0.0f, 0.7f, 1.0f, -1.0f, 1e9f, std::numeric_limits<float>::quiet_NaN()};
  sampling.temperature = odd[random() % (one_in(10) ? std::size(odd) : 3)];
  if (one_in(10)) sampling.top_p = odd[random() % std::size(odd)];
  if (one_in(10)) sampling.min_p = odd[random() % std::size(odd)];
  if (one_in(10)) sampling.top_k = static_cast<std::int32_t>(random() % 50) - 3;
  if (one_in(10)) sampling.repetition_penalty = odd[random() % std::size(odd)];
  if (one_in(10)) sampling.logit_bias = {{static_cast<std::int32_t>(random() % 43) - 1, 5}};
  if (one_in(10)) sampling.log_probs = static_cast<std::int32_t>(random() % 140) - 2;
  sampling.seed = random();
  return request;
}

TEST(EngineStorm, TenThousandOfRandomParametersHarmNobody) {
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.max_requests = 6;
  options.cache_tokens = 512;
  options.max_waiting = 40;
  options.steps_in_flight = 2;
  options.batch_invariant = true;
  const auto engine = file.load(options);
  // One whose answer is known comes again and again between the others.
  Request known = request_of(ids_of(5, 40, 40), 8);
  known.sampling.temperature = 1;
  const std::vector<std::int32_t> expected = run_alone(*engine, known)[0].tokens;

  constexpr std::uint32_t kSeed = 11;
  std::mt19937 random(kSeed);
  int accepted = 0, refused = 0, ended = 0, answers = 0;
  for (int i = 0; i < 10000 / kOneIn; ++i) {
    Request request = careless_request(random);
    const std::int32_t completions = request.completions;
    request.on_event = [&ended](const TokenEvent& event) {
      ended += event.finished;
      return true;
    };
    const Result<RequestId> id = engine->submit(std::move(request));
    if (id.ok()) {
      accepted += completions;
    } else if (id.status().code() != StatusCode::kResourceExhausted) {
      ++refused;
    }
    if (i % 50 == 0) {
      Request again = known;
      again.on_event = [&, tokens = std::vector<std::int32_t>()](const TokenEvent& event) mutable {
        if (event.token != kNoToken) tokens.push_back(event.token);
        if (!event.finished) return true;
        EXPECT_EQ(tokens, expected) << "seed " << kSeed << " at " << i;
        ++answers;
        return true;
      };
      while (!engine->submit(again).ok()) engine->step();
    }
    if (random() % 4 != 0) engine->step();
  }
  while (engine->step()) {
  }
  EXPECT_EQ(ended, accepted);
  EXPECT_EQ(answers, 200 / kOneIn);
  EXPECT_GT(accepted, 2000 / kOneIn);
  EXPECT_GT(refused, 1000 / kOneIn);
  testing::expect_nothing_held(*engine);
}

TEST(EngineStorm, CancellationStorms) {
  const TinyModelFile file;
  for (const std::int32_t in_flight : {1, 2}) {
    EngineOptions options = small_options();
    options.cache_tokens = 256;
    options.steps_in_flight = in_flight;
    const auto engine = file.load(options);
    std::mt19937 random(17);
    std::vector<std::unique_ptr<Listener>> listeners;
    std::vector<RequestId> ids;
    for (int i = 0; i < 2000 / kOneIn; ++i) {
      Request request = request_of(testing::random_ids(random, 1 + random() % 120, 40),
                                   static_cast<std::int32_t>(random() % 60));
      request.completions = 1 + static_cast<std::int32_t>(random() % 3);
      listeners.push_back(std::make_unique<Listener>(request.completions));
      request.on_event = listeners.back()->hear();
      const Result<RequestId> id = engine->submit(std::move(request));
      ASSERT_TRUE(id.ok()) << id.status().message();
      ids.push_back(id.value());
      if (random() % 2 == 0) engine->step();
      for (auto storm = random() % 3; storm > 0; --storm)
        static_cast<void>(
            engine->cancel(ids[ids.size() - 1 - random() % std::min<std::size_t>(ids.size(), 6)]));
    }
    for (const RequestId id : ids) static_cast<void>(engine->cancel(id));
    while (engine->step()) {
    }
    for (const auto& listener : listeners) EXPECT_TRUE(listener->ended());
    testing::expect_nothing_held(*engine);
  }
}

TEST(EngineStorm, ThreadsSubmitAndCancelWhileTheEnginesOwnThreadRuns) {
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.threads = 2;
  // Two engines in one process, as well.
  const auto engine = file.load(options);
  const auto second = file.load(options);
  const std::vector<std::int32_t> expected =
      run_alone(*second, request_of({1, 2, 3}, 20))[0].tokens;
  ASSERT_TRUE(engine->start().ok());
  ASSERT_TRUE(second->start().ok());
  EXPECT_FALSE(engine->start().ok());
  std::atomic<int> ended = 0, accepted = 0;
  std::vector<std::thread> clients;
  for (unsigned client = 0; client < 3; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 random(client);
      for (int i = 0; i < 60; ++i) {
        Request request = request_of(testing::random_ids(random, 1 + random() % 50, 40), 10);
        request.on_event = [&ended](const TokenEvent& event) {
          if (event.finished) ++ended;
          return true;
        };
        const Result<RequestId> id = engine->submit(std::move(request));
        if (!id.ok()) continue;
        ++accepted;
        if (random() % 3 == 0) static_cast<void>(engine->cancel(id.value()));
        if (i % 20 == 0) {
          const std::int32_t prompt[] = {1, 2, 3};
          GenerateRequest generate;
          generate.prompt = prompt;
          generate.max_tokens = 20;
          EXPECT_EQ((client == 0 ? second : engine)->generate(generate).value().tokens, expected);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  engine->stop();
  EXPECT_EQ(ended, accepted);
  testing::expect_nothing_held(*engine);
  const Status closed = engine->submit(request_of({1}, 1)).status();
  EXPECT_EQ(closed.code(), StatusCode::kUnavailable);
}

TEST(EngineStorm, CancellationsFromSeveralThreads) {
  const TinyModelFile file;
  for (const std::int32_t in_flight : {1, 2}) {
    EngineOptions options = small_options();
    options.threads = 2;
    options.cache_tokens = 256;
    options.max_waiting = 30;
    options.steps_in_flight = in_flight;
    const auto engine = file.load(options);
    ASSERT_TRUE(engine->start().ok());
    std::atomic<int> accepted = 0, ended = 0;
    std::atomic<RequestId> newest = 0;
    std::atomic<bool> over = false;
    std::vector<std::thread> threads;
    for (unsigned client = 0; client < 3; ++client) {
      threads.emplace_back([&, client] {
        std::mt19937 random(client);
        for (int mine = 0; mine < 200 / kOneIn;) {
          Request request = request_of(testing::random_ids(random, 1 + random() % 120, 40),
                                       static_cast<std::int32_t>(random() % 60));
          const auto completions = 1 + static_cast<std::int32_t>(random() % 3);
          request.completions = completions;
          request.on_event = [&ended](const TokenEvent& event) {
            ended += event.finished;
            return true;
          };
          const Result<RequestId> id = engine->submit(std::move(request));
          if (!id.ok()) {
            EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
            std::this_thread::yield();
            continue;
          }
          ++mine;
          accepted += completions;
          newest = *id;
        }
      });
    }
    for (unsigned canceller = 0; canceller < 2; ++canceller) {
      threads.emplace_back([&, canceller] {
        std::mt19937 random(100 + canceller);
        while (!over) {
          const RequestId id = newest;
          static_cast<void>(engine->cancel(id - random() % 20));
        }
      });
    }
    for (std::size_t i = 0; i < 3; ++i) threads[i].join();
    over = true;
    threads[3].join();
    threads[4].join();
    engine->stop();
    EXPECT_EQ(ended, accepted);
    testing::expect_nothing_held(*engine);
  }
}

/// A request that only a cancellation can end is cancelled at every moment since submit().
TEST(EngineStorm, NoCancellationIsLost) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  ASSERT_TRUE(engine->start().ok());
  std::vector<std::thread> clients;
  for (unsigned client = 0; client < 3; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 random(client);
      for (int i = 0; i < 1000 / kOneIn; ++i) {
        std::atomic<bool> cancelled = false, ended = false;
        FinishReason reason = FinishReason::kFailed;
        std::atomic<int> tokens = 0;
        Request request = request_of({1, 2, 3}, 200);
        request.on_event = [&](const TokenEvent& event) {
          // The engine waits here until the cancellation is out; then 190 steps may notice it.
          if (++tokens == 10) {
            while (!cancelled) std::this_thread::yield();
          }
          if (!event.finished) return true;
          reason = event.reason;
          ended = true;
          return true;
        };
        const RequestId id = engine->submit(std::move(request)).value();
        for (auto spins = random() % 2000; spins > 0; --spins)
          static_cast<void>(tokens.load(std::memory_order_relaxed));
        EXPECT_TRUE(engine->cancel(id));
        cancelled = true;
        while (!ended) std::this_thread::yield();
        ASSERT_EQ(reason, FinishReason::kCancelled) << "client " << client << " request " << i;
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST(EngineStorm, ADestroyedEngineEndsItsRequests) {
  const TinyModelFile file;
  for (const bool own_thread : {false, true}) {
    for (const std::int32_t in_flight : {1, 2}) {
      // Running, with completions that are not born, and waiting.
      std::vector<std::unique_ptr<Listener>> listeners;
      {
        EngineOptions options = small_options();
        options.threads = 2;
        options.steps_in_flight = in_flight;
        const auto engine = file.load(options);
        if (own_thread) {
          ASSERT_TRUE(engine->start().ok());
        }
        for (int i = 0; i < 30; ++i) {
          Request request = request_of(ids_of(static_cast<unsigned>(i), 50, 40), 200);
          request.completions = 1 + i % 4;
          listeners.push_back(std::make_unique<Listener>(request.completions));
          request.on_event = listeners.back()->hear();
          ASSERT_TRUE(engine->submit(request).ok());
          if (!own_thread && i < 5) engine->step();
        }
      }
      std::size_t cancelled = 0;
      for (const auto& listener : listeners) {
        EXPECT_TRUE(listener->ended());
        for (const testing::Heard& heard : listener->heard)
          cancelled += heard.reason == FinishReason::kCancelled ? 1 : 0;
      }
      EXPECT_GT(cancelled, 0u);
    }
  }
}

TEST(EngineStorm, StoppingEndsACallThatWaits) {
  const TinyModelFile file;
  const auto engine = file.load(small_options());
  ASSERT_TRUE(engine->start().ok());
  std::atomic<bool> begun = false;
  std::thread waiter([&] {
    const std::int32_t prompt[] = {1, 2, 3};
    GenerateRequest generate;
    generate.prompt = prompt;
    generate.max_tokens = 200;
    generate.on_token = [&](std::int32_t) {
      begun = true;
      return true;
    };
    while (true) {  // until one is cut short
      const Result<GenerateResult> result = engine->generate(generate);
      if (!result.ok()) {
        EXPECT_EQ(result.status().code(), StatusCode::kUnavailable);
        return;
      }
      if (result->finish_reason == FinishReason::kCancelled) return;
    }
  });
  while (!begun) std::this_thread::yield();
  engine->stop();
  waiter.join();
  testing::expect_nothing_held(*engine);
}

/// Whoever looks gets its turn between two steps, long before there is nothing to do.
TEST(EngineStorm, OnlookersSeeItAtWork) {
  constexpr int kRequests = 1000;  // a second of work; the looks take a thousandth of it
  const TinyModelFile file;
  EngineOptions options = small_options();
  options.max_waiting = kRequests;
  std::atomic<int> ended = 0;
  const auto engine = file.load(options);
  for (int i = 0; i < kRequests; ++i) {
    Request request = request_of({1, 2, 3}, 200);
    request.on_event = [&](const TokenEvent& event) {
      if (event.finished) ++ended;
      return true;
    };
    ASSERT_TRUE(engine->submit(std::move(request)).ok());
  }
  ASSERT_TRUE(engine->start().ok());
  std::set<std::int64_t> seen;
  while (seen.size() < 20 && ended < kRequests) {
    if (engine->load_now().running_completions > 0) seen.insert(engine->counters().steps);
  }
  EXPECT_EQ(seen.size(), 20u);
  engine->stop();
}

}  // namespace
}  // namespace onebeat
