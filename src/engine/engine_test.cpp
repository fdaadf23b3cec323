// SPDX-License-Identifier: Apache-2.0
// A small random model against a computation in double that knows no cache, no pages and no plans.
#include "onebeat/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "engine/cpu/cpu_runner.h"
#include "model/tiny_model_for_test.h"
#include "onebeat/thread_pool.h"
#include "ops/cpu/isa.h"

namespace onebeat {
namespace {

using testing::TinyModel;
using Row = std::vector<double>;

/// The model as its definition says, one sequence at a time.
class NaiveModel {
 public:
  explicit NaiveModel(const TinyModel& tiny) : tiny_(tiny) {}

  /// Logits after the last token.
  Row logits(const std::vector<std::int32_t>& tokens) const {
    std::vector<Row> x;
    for (const std::int32_t token : tokens) x.push_back(row("token_embd.weight", token));
    for (std::int32_t i = 0; i < tiny_.layers; ++i) run_layer("blk." + std::to_string(i) + ".", x);
    return times(tiny_.tied ? "token_embd.weight" : "output.weight",
                 norm(x.back(), "output_norm.weight"));
  }

 private:
  void run_layer(const std::string& name, std::vector<Row>& x) const {
    std::vector<Row> q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Row h = norm(x[t], name + "attn_norm.weight");
      q.push_back(rotated(plus(times(name + "attn_q.weight", h), name + "attn_q.bias"), t));
      k.push_back(rotated(plus(times(name + "attn_k.weight", h), name + "attn_k.bias"), t));
      v.push_back(plus(times(name + "attn_v.weight", h), name + "attn_v.bias"));
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      add(x[t], times(name + "attn_output.weight", attend(q[t], k, v, t)));
      const Row h = norm(x[t], name + "ffn_norm.weight");
      Row gate = times(name + "ffn_gate.weight", h);
      const Row up = times(name + "ffn_up.weight", h);
      for (std::size_t i = 0; i < gate.size(); ++i)
        gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      add(x[t], times(name + "ffn_down.weight", gate));
    }
  }

  Row attend(const Row& q, const std::vector<Row>& k, const std::vector<Row>& v,
             std::size_t t) const {
    const auto dim = static_cast<std::size_t>(tiny_.head_dim);
    const auto group = static_cast<std::size_t>(tiny_.heads / tiny_.kv_heads);
    Row out(q.size());
    for (std::size_t head = 0; head < static_cast<std::size_t>(tiny_.heads); ++head) {
      const std::size_t at = head / group * dim;
      Row weights;
      double total = 0;
      for (std::size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (std::size_t d = 0; d < dim; ++d) score += q[head * dim + d] * k[s][at + d];
        weights.push_back(std::exp(score / std::sqrt(tiny_.head_dim)));
        total += weights.back();
      }
      for (std::size_t s = 0; s <= t; ++s) {
        for (std::size_t d = 0; d < dim; ++d)
          out[head * dim + d] += weights[s] / total * v[s][at + d];
      }
    }
    return out;
  }

  Row rotated(Row x, std::size_t position) const {
    const std::vector<float>& factors = tiny_.tensors.at("rope_freqs.weight");
    const auto dim = static_cast<std::size_t>(tiny_.head_dim);
    for (std::size_t at = 0; at < x.size(); at += 2) {
      const std::size_t pair = at % dim / 2;
      const double angle = static_cast<double>(position) *
                           std::pow(10000.0, -2.0 * static_cast<double>(pair) / tiny_.head_dim) /
                           factors[pair];
      const double a = x[at], b = x[at + 1];
      x[at] = a * std::cos(angle) - b * std::sin(angle);
      x[at + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  }

  Row row(const std::string& name, std::int32_t index) const {
    const auto begin = tiny_.tensors.at(name).begin() + index * tiny_.width;
    return Row(begin, begin + tiny_.width);
  }
  Row norm(const Row& x, const std::string& gain) const {
    double sum = 0;
    for (const double value : x) sum += value * value;
    Row out = x;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + 1e-5);
    for (std::size_t i = 0; i < x.size(); ++i) out[i] *= scale * tiny_.tensors.at(gain)[i];
    return out;
  }
  Row times(const std::string& name, const Row& x) const {
    const std::vector<float>& matrix = tiny_.tensors.at(name);
    Row out(matrix.size() / x.size());
    for (std::size_t i = 0; i < matrix.size(); ++i)
      out[i / x.size()] += matrix[i] * x[i % x.size()];
    return out;
  }
  Row plus(Row x, const std::string& bias) const {
    if (tiny_.biases) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += tiny_.tensors.at(bias)[i];
    }
    return x;
  }
  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const TinyModel& tiny_;
};

std::vector<std::int32_t> some_tokens(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<std::int32_t>(random() % 40));
  return tokens;
}

void expect_logits(const float* logits, const Row& expected, const std::string& what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(logits[i], expected[i], 2e-4 * (1 + std::fabs(expected[i]))) << what << " id " << i;
  }
}

class TinyEngineTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    tiny_.tied = GetParam();
    tiny_.biases = GetParam();
    bytes_ = tiny_.writer().finish();
    model_ = Model::from_gguf(GgufFile::parse(bytes_, "tiny").value()).value();
  }

  CpuRunnerOptions options() const {
    CpuRunnerOptions options;
    options.isa = best_isa();
    options.mode = ComputeMode::kF32;
    options.kv_type = KvType::kF32;
    options.context_tokens = 400;
    options.prefill_chunk = 50;
    options.max_requests = 3;
    options.max_output_rows = 50;
    return options;
  }

  TinyModel tiny_;
  std::vector<std::byte> bytes_;
  std::unique_ptr<Model> model_;
};

TEST_P(TinyEngineTest, RequestsOfAStepDoNotDisturbEachOther) {
  const NaiveModel naive(tiny_);
  const auto pool = ThreadPool::create(3).value();
  const auto runner = CpuRunner::create(*model_, options(), *pool).value();
  // Lengths around a page and a tile, and one long enough to be split between workers.
  std::vector<std::vector<std::int32_t>> sequences = {some_tokens(1, 1), some_tokens(31, 2),
                                                      some_tokens(300, 3)};
  std::vector<std::int32_t> requests;
  for (const auto& sequence : sequences) {
    requests.push_back(runner->open_request().value());
    for (std::size_t at = 0; at < sequence.size(); at += 50) {
      const std::size_t count = std::min<std::size_t>(50, sequence.size() - at);
      ASSERT_TRUE(runner
                      ->prefill(requests.back(), std::span(sequence).subspan(at, count),
                                PromptLogits::kLast)
                      .ok());
    }
    expect_logits(runner->logits().row(0), naive.logits(sequence),
                  "prompt of " + std::to_string(sequence.size()));
  }
  EXPECT_EQ(runner->open_request().status().code(), StatusCode::kResourceExhausted);

  for (std::int32_t step = 0; step < 4; ++step) {
    std::vector<DecodeInput> inputs;
    // The order of the requests in a step means nothing, and one may be absent.
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t r = (i + static_cast<std::size_t>(step)) % 3;
      if (step == 2 && r == 1) continue;
      const std::int32_t token = (7 * step + static_cast<std::int32_t>(r)) % 40;
      sequences[r].push_back(token);
      inputs.push_back({requests[r], token});
    }
    ASSERT_TRUE(runner->decode(inputs).ok());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto r = static_cast<std::size_t>(inputs[i].request - requests[0]);
      expect_logits(runner->logits().row(static_cast<std::int64_t>(i)), naive.logits(sequences[r]),
                    "step " + std::to_string(step) + " request " + std::to_string(r));
    }
  }
  EXPECT_EQ(runner->counters().plans_made, 4);
  EXPECT_EQ(runner->counters().planned_attentions, 4 * tiny_.layers);

  // A place that was given up serves the next request as if it were new.
  runner->close_request(requests[1]);
  const std::int32_t next = runner->open_request().value();
  const std::vector<std::int32_t> prompt = some_tokens(40, 9);
  ASSERT_TRUE(runner->prefill(next, prompt, PromptLogits::kAll).ok());
  for (std::size_t t = 0; t < prompt.size(); t += 13) {
    const std::vector<std::int32_t> so_far(prompt.begin(),
                                           prompt.begin() + static_cast<std::ptrdiff_t>(t) + 1);
    expect_logits(runner->logits().row(static_cast<std::int64_t>(t)), naive.logits(so_far),
                  "position");
  }
}

TEST_P(TinyEngineTest, ARefusedPassLeavesTheRequestAsItWas) {
  const NaiveModel naive(tiny_);
  const auto pool = ThreadPool::create(1).value();
  CpuRunnerOptions small = options();
  small.context_tokens = 45;
  const auto runner = CpuRunner::create(*model_, small, *pool).value();
  const std::int32_t request = runner->open_request().value();
  std::vector<std::int32_t> tokens = some_tokens(40, 4);
  ASSERT_TRUE(runner->prefill(request, tokens, PromptLogits::kLast).ok());
  EXPECT_EQ(runner->prefill(request, some_tokens(6, 5), PromptLogits::kLast).code(),
            StatusCode::kOutOfRange);
  const std::int32_t beyond[] = {3, 40};
  EXPECT_EQ(runner->prefill(request, beyond, PromptLogits::kLast).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(runner->length(request), 40);
  const DecodeInput wrong = {request, -1};
  EXPECT_EQ(runner->decode({&wrong, 1}).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(runner->length(request), 40);
  for (std::int32_t token = 0; token < 5; ++token) {
    const DecodeInput input = {request, token};
    tokens.push_back(token);
    ASSERT_TRUE(runner->decode({&input, 1}).ok());
    expect_logits(runner->logits().row(0), naive.logits(tokens), "after a refusal");
  }
  const DecodeInput full = {request, 0};
  EXPECT_EQ(runner->decode({&full, 1}).code(), StatusCode::kOutOfRange);
}

INSTANTIATE_TEST_SUITE_P(Variants, TinyEngineTest, ::testing::Bool(),
                         [](const auto& tied) { return tied.param ? "TiedWithBiases" : "Untied"; });

TEST(Engine, NamesAFileThatIsNotThere) {
  const Status status = Engine::load("no/such/model.gguf").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find("no/such/model.gguf"), std::string::npos) << status.message();
}

TEST(Engine, RefusesOptionsWithTheirLimits) {
  TinyModel tiny;
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) /
                                     ("onebeat_engine_test_" + std::to_string(getpid()) + ".gguf");
  tiny.writer().write(path.string());
  const auto refusal = [&](const std::function<void(EngineOptions&)>& change) {
    EngineOptions options;
    change(options);
    return Engine::load(path, options).status().message();
  };
  EXPECT_NE(refusal([](EngineOptions& o) { o.context_tokens = 513; }).find("513"),
            std::string::npos);
  EXPECT_NE(refusal([](EngineOptions& o) { o.context_tokens = 0; }).find("from 1 to 512"),
            std::string::npos);
  EXPECT_NE(refusal([](EngineOptions& o) { o.prefill_chunk = 0; }).find("prefill chunk is 0"),
            std::string::npos);
  EXPECT_NE(refusal([](EngineOptions& o) { o.threads = 0; }).find("0"), std::string::npos);
  EXPECT_NE(refusal([](EngineOptions& o) { o.kv_type = KvType::kF8E4M3; }).find("fp8"),
            std::string::npos);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace onebeat
