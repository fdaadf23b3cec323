// SPDX-License-Identifier: Apache-2.0
// What happens to requests: forks, masks, refusals, full queues, cancellations, threads.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <random>
#include <thread>

#include "engine/cache_size.h"
#include "engine/tiny_engine_for_test.h"
#include "text/small_vocabulary.h"
#include "text/stop_strings.h"

namespace onebeat {
namespace {

using testing::Heard;
using testing::Listener;
using testing::run_alone;
using testing::TinyModelFile;

EngineOptions small_options() {
  EngineOptions options;
  options.threads = 1;
  options.context_tokens = 256;
  options.max_requests = 4;
  options.cache_tokens = 1024;
  return options;
}

Request request_of(std::vector<std::int32_t> prompt, std::int32_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

std::vector<std::int32_t> ids_of(unsigned seed, std::size_t count, std::int32_t vocabulary) {
  std::mt19937 random(seed);
  return testing::random_ids(random, count, vocabulary);
}

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

TEST(EngineRequests, TextEndsAtStopStringsWhereverTokensDo) {
  testing::TinyModel model;
  model.vocabulary = 1600;  // more than the tokenizer has
  const TinyModelFile file(std::move(model));
  const auto engine = file.load(small_options());
  Request request = request_of({5, 6, 7}, 60);
  request.wants_text = true;
  request.sampling.temperature = 1;
  EXPECT_NE(engine->submit(request).status().message().find("no tokenizer"), std::string::npos);
  const auto tokenizer = std::make_shared<const Tokenizer>(testing::SmallVocabulary().tokenizer());
  ASSERT_TRUE(engine->set_tokenizer(tokenizer).ok());

  struct Reply {
    std::vector<std::int32_t> tokens;
    std::string text;
    FinishReason reason;
  };
  const auto run = [&](const std::vector<std::string>& stops, std::int32_t in_flight_cancel = -1) {
    Reply reply;
    RequestId id = 0;
    request.stop_strings = stops;
    request.on_event = [&](const TokenEvent& event) {
      if (event.token != kNoToken) reply.tokens.push_back(event.token);
      reply.text += event.text;
      if (event.finished) reply.reason = event.reason;
      if (static_cast<std::int32_t>(reply.tokens.size()) == in_flight_cancel) engine->cancel(id);
      return true;
    };
    id = engine->submit(request).value();
    while (engine->step()) {
    }
    return reply;
  };
  const auto decoded = [&](std::vector<std::int32_t> ids) {
    std::erase_if(ids, [&](std::int32_t id) { return id >= tokenizer->vocabulary_size(); });
    return tokenizer->decode(ids, /*show_special=*/false).value();
  };
  int stopped = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    request.sampling.seed = seed;
    const Reply whole = run({});
    EXPECT_EQ(whole.text, decoded(whole.tokens));
    EXPECT_EQ(whole.reason, FinishReason::kLength);
    const Reply cut = run({}, 9);
    EXPECT_EQ(cut.reason, FinishReason::kCancelled);
    EXPECT_EQ(cut.text, decoded(cut.tokens));
    // A string from the middle, if the bytes there are characters.
    const std::string stop = whole.text.substr(whole.text.size() / 2, 5);
    if (!StopStrings::make({stop}).ok()) continue;
    ++stopped;
    const Reply ended = run({stop, "never to be found"});
    EXPECT_EQ(ended.reason, FinishReason::kStop);
    EXPECT_EQ(ended.text, whole.text.substr(0, whole.text.find(stop)));
    EXPECT_LT(ended.tokens.size(), whole.tokens.size());
  }
  EXPECT_GT(stopped, 5);
  EXPECT_FALSE(engine
                   ->submit([&] {
                     Request bad = request;
                     bad.stop_strings = {""};
                     return bad;
                   }())
                   .ok());
  testing::expect_nothing_held(*engine);
}

TEST(EngineRequests, AFullQueueRefusesAndTakesAgain) {
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

TEST(EngineRequests, TenThousandOfRandomParametersHarmNobody) {
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
  for (int i = 0; i < 10000; ++i) {
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
  EXPECT_EQ(answers, 200);
  EXPECT_GT(accepted, 2000);
  EXPECT_GT(refused, 1000);
  testing::expect_nothing_held(*engine);
}

TEST(EngineRequests, CancellationStorms) {
  const TinyModelFile file;
  for (const std::int32_t in_flight : {1, 2}) {
    EngineOptions options = small_options();
    options.cache_tokens = 256;
    options.steps_in_flight = in_flight;
    const auto engine = file.load(options);
    std::mt19937 random(17);
    std::vector<std::unique_ptr<Listener>> listeners;
    std::vector<RequestId> ids;
    for (int i = 0; i < 2000; ++i) {
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

TEST(EngineRequests, ThreadsSubmitAndCancelWhileTheEnginesOwnThreadRuns) {
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

TEST(EngineRequests, ADestroyedEngineEndsItsRequests) {
  const TinyModelFile file;
  Listener listener;
  {
    const auto engine = file.load(small_options());
    Request request = request_of({1, 2, 3}, 200);
    request.on_event = listener.hear();
    ASSERT_TRUE(engine->submit(request).ok());
    engine->step();
  }
  EXPECT_EQ(listener.heard[0].reason, FinishReason::kCancelled);
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

TEST(CacheSize, SaysWhatWouldFit) {
  CacheDemand demand;
  demand.context_tokens = 1000;
  demand.max_requests = 4;
  demand.page_tokens = 32;
  demand.bytes_per_token = 1000;
  demand.memory_bytes = 100'000'000;
  EXPECT_EQ(choose_cache_pages(demand).value(), 4 * 32);
  demand.memory_bytes = 3'000'000;
  EXPECT_EQ(choose_cache_pages(demand).value(), 46) << "half of the memory";
  demand.memory_bytes = 1'100'000;
  EXPECT_EQ(choose_cache_pages(demand).value(), 32) << "at least one context";
  demand.memory_bytes = 500'000;
  const Status status = choose_cache_pages(demand).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("480 tokens would fit"), std::string::npos) << status.message();
  demand.memory_bytes = 1'500'000;
  demand.cache_tokens = 999;
  EXPECT_EQ(choose_cache_pages(demand).status().code(), StatusCode::kOutOfRange);
  demand.cache_tokens = 1100;
  EXPECT_EQ(choose_cache_pages(demand).value(), 35);
  demand.cache_tokens = 2000;
  EXPECT_NE(choose_cache_pages(demand).status().message().find("1472 tokens would fit"),
            std::string::npos);
  demand.cache_tokens = INT64_MAX;
  EXPECT_EQ(choose_cache_pages(demand).status().code(), StatusCode::kOutOfRange);
}

TEST(CacheSize, AnEngineRefusesAContextBeyondTheMemory) {
  testing::TinyModel model;
  model.context = 1 << 30;
  const TinyModelFile file(std::move(model));
  EngineOptions options;
  options.threads = 1;
  options.context_tokens = 1 << 30;
  const Status status = Engine::load(file.path(), options).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("would fit"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace onebeat
