// SPDX-License-Identifier: Apache-2.0
// Engines on small random models, and what they answer. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "model/tiny_model_for_test.h"
#include "onebeat/engine.h"

namespace onebeat::testing {

/// A model file that lives as long as this.
class TinyModelFile {
 public:
  explicit TinyModelFile(TinyModel model = {}) {
    static int count = 0;
    path_ = std::filesystem::path(::testing::TempDir()) /
            ("onebeat_tiny_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".gguf");
    vocabulary_ = model.vocabulary;
    model.writer().write(path_.string());
  }
  ~TinyModelFile() { std::filesystem::remove(path_); }
  TinyModelFile(const TinyModelFile&) = delete;
  TinyModelFile& operator=(const TinyModelFile&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::int32_t vocabulary() const { return vocabulary_; }
  [[nodiscard]] std::unique_ptr<Engine> load(const EngineOptions& options) const {
    Result<std::unique_ptr<Engine>> engine = Engine::load(path_, options);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return std::move(engine).value();
  }

 private:
  std::filesystem::path path_;
  std::int32_t vocabulary_ = 0;
};

/// Matrices in Q8_0, so that products are integer products.
inline TinyModel quantised_tiny_model() {
  TinyModel model;
  model.feed_forward = 64;
  model.change = [](TensorToWrite& tensor) {
    if (tensor.shape.size() != 2) return true;
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    std::vector<std::byte> blocks;
    for (std::size_t at = 0; at < values.size(); ++at) {
      constexpr std::byte kScale[] = {std::byte{0x00}, std::byte{0x24}};  // 2^-6 in fp16
      if (at % 32 == 0) blocks.insert(blocks.end(), std::begin(kScale), std::end(kScale));
      const long number = std::clamp(std::lround(values[at] * 64), -127l, 127l);
      blocks.push_back(static_cast<std::byte>(number));
    }
    tensor.type = GgmlType::kQ8_0;
    tensor.bytes = std::move(blocks);
    return true;
  };
  return model;
}

/// One completion as its events told it.
struct Heard {
  std::vector<std::int32_t> tokens;
  std::vector<float> log_probs;
  std::vector<float> margins;  ///< Of the likeliest over the second, where they were asked for.
  std::optional<FinishReason> reason;
  Status failure;
  std::int32_t cached_tokens = 0;
};

/// Listens to one request; must outlive it.
class Listener {
 public:
  explicit Listener(std::int32_t completions = 1) : heard(static_cast<std::size_t>(completions)) {}

  std::function<bool(const TokenEvent&)> hear() {
    return [this](const TokenEvent& event) {
      Heard& reply = heard.at(static_cast<std::size_t>(event.completion));
      EXPECT_FALSE(reply.reason.has_value()) << "an event after the last";
      if (event.token != kNoToken) {
        reply.tokens.push_back(event.token);
        reply.log_probs.push_back(event.log_prob);
        if (event.top_log_probs.size() >= 2) {
          reply.margins.push_back(event.top_log_probs[0].log_prob -
                                  event.top_log_probs[1].log_prob);
        }
      }
      if (event.finished) {
        ++ends;
        reply.reason = event.reason;
        reply.cached_tokens = event.cached_tokens;
        EXPECT_EQ(event.failure != nullptr, event.reason == FinishReason::kFailed);
        if (event.failure != nullptr) reply.failure = *event.failure;
        EXPECT_EQ(event.reply_tokens, static_cast<std::int32_t>(reply.tokens.size()));
      }
      return true;
    };
  }

  [[nodiscard]] bool ended() const { return ends == static_cast<int>(heard.size()); }

  std::vector<Heard> heard;
  int ends = 0;
};

/// Runs one request to its end and nothing else beside it.
inline std::vector<Heard> run_alone(Engine& engine, Request request) {
  Listener listener(request.completions);
  request.on_event = listener.hear();
  const Result<RequestId> id = engine.submit(std::move(request));
  EXPECT_TRUE(id.ok()) << id.status().message();
  while (engine.step()) {
  }
  EXPECT_TRUE(listener.ended());
  return listener.heard;
}

inline std::vector<std::int32_t> random_ids(std::mt19937& random, std::size_t count,
                                            std::int32_t vocabulary) {
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids)
    id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
  return ids;
}

inline std::vector<std::int32_t> ids_of(unsigned seed, std::size_t count, std::int32_t vocabulary) {
  std::mt19937 random(seed);
  return random_ids(random, count, vocabulary);
}

inline EngineOptions small_options() {
  EngineOptions options;
  options.threads = 1;
  options.context_tokens = 256;
  options.max_requests = 4;
  options.cache_tokens = 1024;
  return options;
}

inline Request request_of(std::vector<std::int32_t> prompt, std::int32_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

/// Nobody waits, runs or holds a page, but for what is kept for reuse.
inline void expect_nothing_held(Engine& engine) {
  EngineLoad load = engine.load_now();
  EXPECT_EQ(load.waiting_requests, 0);
  EXPECT_EQ(load.running_completions, 0);
  EXPECT_EQ(load.available_pages, load.total_pages);
  engine.drop_kept_prefixes();
  load = engine.load_now();
  EXPECT_EQ(load.available_pages, load.total_pages);
  EXPECT_EQ(load.kept_pages, 0);
}

}  // namespace onebeat::testing
