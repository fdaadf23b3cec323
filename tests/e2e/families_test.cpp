// SPDX-License-Identifier: Apache-2.0
// Tiny random models of every family, as folders and as GGUF files, against Hugging Face's
// transformers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "engine/cpu/cpu_runner.h"
#include "golden_logits.h"
#include "onebeat/thread_pool.h"
#include "ops/cpu/isa.h"

namespace onebeat {
namespace {

constexpr double kLogitBar = 1e-3;

struct Source {
  std::string golden;
  std::string path;  // Below the folder of test models.
};

class FamiliesTest : public ::testing::TestWithParam<Source> {
 protected:
  void SetUp() override {
    const char* models = std::getenv("ONEBEAT_TEST_MODELS");
    if (models == nullptr) GTEST_SKIP() << "ONEBEAT_TEST_MODELS names no folder; CTest sets it";
    const char* root = std::getenv("ONEBEAT_SOURCE_DIR");
    golden_ = testing::read_golden_logits(std::string(root != nullptr ? root : ".") +
                                          "/tests/golden/family_" + GetParam().golden + ".txt");
    Result<std::unique_ptr<Model>> model =
        Model::load(std::filesystem::path(models) / GetParam().path);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(model).value();
    pool_ = ThreadPool::create(2).value();
  }

  CpuRunnerOptions options() const {
    CpuRunnerOptions options;
    options.mode = ComputeMode::kF32;
    options.isa = best_isa();
    options.kv_type = KvType::kF32;
    options.context_tokens = 512;
    options.prefill_chunk = 40;  // Chunks end inside windows.
    options.max_requests = 2;
    options.max_output_rows = 40;
    return options;
  }

  std::vector<testing::GoldenPrompt> golden_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<ThreadPool> pool_;
};

TEST_P(FamiliesTest, LogitsAreThoseOfTransformers) {
  const auto runner = CpuRunner::create(*model_, options(), *pool_).value();
  double worst = 0;
  const auto compare = [&](std::int64_t row, const testing::GoldenPrompt& golden,
                           std::size_t position) {
    const double d = testing::difference(runner->logits(), row, golden.positions[position]);
    ASSERT_LE(d, kLogitBar) << golden.text << " position " << position;
    worst = std::max(worst, d);
  };
  ASSERT_EQ(golden_.size(), 2u);
  std::vector<std::int32_t> requests;
  for (const testing::GoldenPrompt& golden : golden_) {
    requests.push_back(runner->open_request().value());
    const std::span<const std::int32_t> ids = golden.ids;
    for (std::size_t at = 0; at < ids.size(); at += 40) {
      const std::size_t count = std::min<std::size_t>(40, ids.size() - at);
      ASSERT_TRUE(
          runner->prefill(requests.back(), ids.subspan(at, count), PromptLogits::kAll).ok());
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_NO_FATAL_FAILURE(compare(static_cast<std::int64_t>(i), golden, at + i));
      }
    }
  }
  for (std::size_t t = 0; t + 1 < golden_[0].tokens.size(); ++t) {
    const DecodeInput inputs[] = {{requests[0], golden_[0].tokens[t]},
                                  {requests[1], golden_[1].tokens[t]}};
    ASSERT_TRUE(runner->decode(inputs).ok());
    for (std::size_t p = 0; p < 2; ++p) {
      ASSERT_NO_FATAL_FAILURE(
          compare(static_cast<std::int64_t>(p), golden_[p], golden_[p].ids.size() + t));
    }
  }
  std::printf("largest difference of a logit: %.6f\n", worst);
}

INSTANTIATE_TEST_SUITE_P(
    Tiny, FamiliesTest,
    ::testing::Values(Source{"llama", "llama"}, Source{"llama", "llama.gguf"},
                      Source{"mistral", "mistral"}, Source{"mistral", "mistral.gguf"},
                      Source{"qwen2", "qwen2"}, Source{"qwen2", "qwen2.gguf"},
                      Source{"qwen3", "qwen3"}, Source{"qwen3", "qwen3.gguf"},
                      Source{"gemma3", "gemma3"}, Source{"gemma3", "gemma3.gguf"},
                      Source{"mistral_window", "mistral_window"},
                      Source{"llama_bias", "llama_bias"}, Source{"gemma3_scaled", "gemma3_scaled"}),
    [](const auto& source) {
      return source.param.golden +
             (source.param.path.find(".gguf") == std::string::npos ? "_folder" : "_gguf");
    });

}  // namespace
}  // namespace onebeat
