// SPDX-License-Identifier: Apache-2.0
// Random mixes of requests against each of them alone: 25 mixes of each of eight models.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/random_mix_for_test.h"

namespace onebeat {
namespace {

using testing::Heard;
using testing::MixFacts;
using testing::TinyModelFile;

constexpr std::int32_t kContext = 512;
constexpr std::uint32_t kMixesOfAModel = 25;
constexpr float kNarrow = 0.05f;

/// The sanitizers look at some of the mixes; they take far longer for each.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint32_t kOneIn = 8;
#else
constexpr std::uint32_t kOneIn = 1;
#endif

std::filesystem::path test_models() {
  const char* folder = std::getenv("ONEBEAT_TEST_MODELS");
  return folder != nullptr ? folder : "build/dev/test_models";
}

/// The folder of the tiny Gemma 3, with a window that spans several of the places where the
/// batch-invariant mode cuts.
class WideWindowModel {
 public:
  WideWindowModel() {
    const std::filesystem::path from = test_models() / "gemma3";
    std::filesystem::create_directories(folder_);
    for (const char* file : {"model.safetensors", "tokenizer.json"}) {
      std::filesystem::copy(from / file, folder_ / file,
                            std::filesystem::copy_options::overwrite_existing);
    }
    std::ostringstream text;
    text << std::ifstream(from / "config.json").rdbuf();
    std::string config = text.str();
    const std::string window = "\"sliding_window\": 8,";
    const std::size_t at = config.find(window);
    EXPECT_NE(at, std::string::npos);
    config.replace(at, window.size(), "\"sliding_window\": 300,");
    std::ofstream(folder_ / "config.json") << config;
  }
  ~WideWindowModel() { std::filesystem::remove_all(folder_); }
  WideWindowModel(const WideWindowModel&) = delete;
  WideWindowModel& operator=(const WideWindowModel&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return folder_; }

 private:
  std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) /
                                  ("onebeat_wide_window_" + std::to_string(getpid()));
};

/// One engine for each way to compute, on which requests run alone.
class Alone {
 public:
  Alone(const std::filesystem::path& path, bool batch_invariant) {
    for (const ComputeMode mode : {ComputeMode::kAuto, ComputeMode::kF32}) {
      EngineOptions options = testing::options_alone(kContext);
      options.batch_invariant = batch_invariant;
      options.compute = mode;
      engines_.push_back(Engine::load(path, options).value());
    }
  }
  std::vector<Heard> run(const Request& request, ComputeMode mode) {
    return testing::run_alone(*engines_[mode == ComputeMode::kF32 ? 1 : 0], request);
  }
  [[nodiscard]] std::int32_t vocabulary() const { return engines_[0]->facts().vocabulary; }

 private:
  std::vector<std::unique_ptr<Engine>> engines_;
};

/// Sampled as well as greedy: a log-probability that differs in its last bit is found at once, a
/// token only where it matters.
void expect_same_bits_in_any_company(const std::filesystem::path& path, std::uint32_t first_seed) {
  MixFacts facts;
  Alone alone(path, true);
  for (std::uint32_t seed = first_seed; seed < first_seed + kMixesOfAModel; seed += kOneIn) {
    SCOPED_TRACE(path.string() + ", seed " + std::to_string(seed));
    std::mt19937 random(seed);
    EngineOptions options = testing::random_options(random, kContext);
    options.batch_invariant = true;
    options.compute = random() % 2 == 0 ? ComputeMode::kF32 : ComputeMode::kAuto;
    const auto engine = Engine::load(path, options).value();
    std::vector<Request> requests;
    for (int i = 0; i < 8; ++i) {
      requests.push_back(testing::random_sampled_request(random, alone.vocabulary(), kContext));
    }
    const auto heard = testing::run_mix(*engine, requests, random, 200, facts);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      const std::vector<Heard> expected = alone.run(requests[r], options.compute);
      for (std::size_t n = 0; n < expected.size(); ++n) {
        SCOPED_TRACE("request " + std::to_string(r) + " completion " + std::to_string(n));
        testing::expect_same_bits(heard[r][n], expected[n], facts);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(facts.compared_tokens, 4000 / kOneIn);
  EXPECT_GT(facts.preemptions, 20 / kOneIn);
  EXPECT_GT(facts.cached_tokens, 1000 / kOneIn);
}

TEST(SameBits, LlamaInF32) {
  expect_same_bits_in_any_company(TinyModelFile().path(), 1000);
}
TEST(SameBits, LlamaInQ8) {
  expect_same_bits_in_any_company(TinyModelFile(testing::quantised_tiny_model()).path(), 2000);
}
TEST(SameBits, LlamaInKQuants) {
  expect_same_bits_in_any_company(test_models() / "packed.gguf", 3000);
}
TEST(SameBits, LlamaInBf16) {
  expect_same_bits_in_any_company(test_models() / "llama.gguf", 4000);
}
TEST(SameBits, Qwen2) {
  expect_same_bits_in_any_company(test_models() / "qwen2.gguf", 5000);
}
TEST(SameBits, Qwen3) {
  expect_same_bits_in_any_company(test_models() / "qwen3.gguf", 6000);
}
TEST(SameBits, Gemma3WithNarrowWindows) {
  expect_same_bits_in_any_company(test_models() / "gemma3.gguf", 7000);
}
TEST(SameBits, Gemma3WithWideWindows) {
  expect_same_bits_in_any_company(WideWindowModel().path(), 8000);
}

/// What every mode must hold, on any device: without batch invariance attention may be divided by
/// what else is in the step.
TEST(Company, GreedyTokensAreThoseAloneUpToANarrowMargin) {
  const TinyModelFile file;
  MixFacts facts;
  Alone alone(file.path(), false);
  for (std::uint32_t seed = 1; seed <= 20; seed += kOneIn) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    EngineOptions options = testing::random_options(random, kContext);
    options.cache_tokens = kContext;
    options.compute = seed % 2 == 0 ? ComputeMode::kF32 : ComputeMode::kAuto;
    const auto engine = file.load(options);
    std::vector<Request> requests;
    for (int i = 0; i < 12; ++i) {
      requests.push_back(testing::random_request(random, file.vocabulary(), kContext));
      requests.back().sampling.log_probs = 2;
    }
    const auto heard = testing::run_mix(*engine, requests, random, 80, facts);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      SCOPED_TRACE("request " + std::to_string(r));
      testing::expect_same_tokens_up_to_margin(
          heard[r][0], alone.run(requests[r], options.compute)[0], kNarrow, facts);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(facts.compared_tokens, 1500 / kOneIn);
  EXPECT_GT(facts.preemptions, 10 / kOneIn);
  EXPECT_GT(facts.cached_tokens, 1000 / kOneIn);
  EXPECT_GT(facts.cancelled, 10 / static_cast<int>(kOneIn));
}

}  // namespace
}  // namespace onebeat
