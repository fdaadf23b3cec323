// SPDX-License-Identifier: Apache-2.0
// Texts of replies and their stop strings.
#include <gtest/gtest.h>

#include "engine/tiny_engine_for_test.h"
#include "text/small_vocabulary.h"
#include "text/spm/spm_vocabulary.h"
#include "text/stop_strings.h"

namespace onebeat {
namespace {

using testing::small_options;
using testing::TinyModelFile;

TEST(EngineText, EndsAtStopStringsWhereverTokensDo) {
  testing::TinyModel model;
  model.vocabulary = 1600;  // more than the tokenizer has
  const TinyModelFile file(std::move(model));
  const auto engine = file.load(small_options());
  Request request = testing::request_of({5, 6, 7}, 60);
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

TEST(EngineText, ShowsControlTokensWhereAsked) {
  testing::TinyModel model;
  model.vocabulary = 1600;
  const TinyModelFile file(std::move(model));
  const auto engine = file.load(small_options());
  const testing::SmallVocabulary vocabulary;
  ASSERT_TRUE(
      engine->set_tokenizer(std::make_shared<const Tokenizer>(vocabulary.tokenizer())).ok());
  for (const bool shows : {false, true}) {
    Request request = testing::request_of({5, 6, 7}, 3);
    request.sampling.logit_bias = {{vocabulary.id_of("<|im_start|>"), 100.0f}};
    request.wants_text = true;
    request.text_shows_special = shows;
    std::string text;
    request.on_event = [&](const TokenEvent& event) {
      text += event.text;
      return true;
    };
    ASSERT_TRUE(engine->submit(request).ok());
    while (engine->step()) {
    }
    EXPECT_EQ(text, shows ? "<|im_start|><|im_start|><|im_start|>" : "");
  }
}

TEST(EngineText, KeepsTheFirstSpaceOfATextThatGoesOn) {
  testing::TinyModel model;
  model.vocabulary = 1600;
  const TinyModelFile file(std::move(model));
  const auto engine = file.load(small_options());
  const testing::SpmVocabulary vocabulary("llama");
  ASSERT_TRUE(
      engine->set_tokenizer(std::make_shared<const Tokenizer>(vocabulary.tokenizer())).ok());
  for (const bool continues : {false, true}) {
    Request request = testing::request_of({5, 6, 7}, 1);
    request.sampling.logit_bias = {{vocabulary.id_of("\xe2\x96\x81the"), 100.0f}};
    request.wants_text = true;
    request.text_continues = continues;
    std::string text;
    request.on_event = [&](const TokenEvent& event) {
      text += event.text;
      return true;
    };
    ASSERT_TRUE(engine->submit(request).ok());
    while (engine->step()) {
    }
    EXPECT_EQ(text, continues ? " the" : "the");
  }
}

}  // namespace
}  // namespace onebeat
