// SPDX-License-Identifier: Apache-2.0
#include "engine/cache_size.h"

#include <gtest/gtest.h>

#include "engine/tiny_engine_for_test.h"

namespace onebeat {
namespace {

using testing::TinyModelFile;

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
