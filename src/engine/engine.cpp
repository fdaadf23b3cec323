// SPDX-License-Identifier: Apache-2.0
#include "onebeat/engine.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "base/error.h"
#include "engine/cpu_runner.h"
#include "model/model.h"
#include "onebeat/thread_pool.h"
#include "ops/cpu/isa.h"
#include "ops/sample.h"

namespace onebeat {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

double per_second(std::int64_t count, double ms) {
  return ms > 0 ? static_cast<double>(count) * 1e3 / ms : 0;
}

Result<CpuRunnerOptions> runner_options(const EngineOptions& options, const ModelConfig& config) {
  CpuRunnerOptions chosen;
  chosen.mode = options.compute;
  chosen.isa = options.isa.value_or(best_isa());
  if (!supports(chosen.isa)) {
    return unsupported("this machine cannot run kernels for {}", to_string(chosen.isa));
  }
  chosen.kv_type =
      options.kv_type.value_or(options.compute == ComputeMode::kF32 ? KvType::kF32 : KvType::kF16);
  chosen.context_tokens = options.context_tokens.value_or(
      std::min<std::int64_t>(config.context_tokens, kDefaultContextTokens));
  if (chosen.context_tokens < 1 || chosen.context_tokens > config.context_tokens) {
    return out_of_range("the context is {} tokens; this model takes from 1 to {}",
                        chosen.context_tokens, config.context_tokens);
  }
  chosen.prefill_chunk = options.prefill_chunk;
  return chosen;
}

}  // namespace

struct Engine::Parts {
  std::unique_ptr<Model> model;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<CpuRunner> runner;
  std::unique_ptr<Sampler> sampler;
  TokenCounts counts;
  ModelFacts facts;
  EngineCounters counters;
  CpuRunnerOptions options;

  [[nodiscard]] Status check(const GenerateRequest& request) const;
  /// Both add to `result`, also when they fail or stop early.
  [[nodiscard]] Status run_prompt(std::int32_t row, const GenerateRequest& request,
                                  GenerateResult& result);
  [[nodiscard]] Status run_reply(std::int32_t row, const GenerateRequest& request,
                                 Clock::time_point begin, GenerateResult& result);
};

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

double GenerateTimings::prefill_tokens_per_second() const {
  return per_second(prompt_tokens, prefill_ms);
}
double GenerateTimings::decode_tokens_per_second() const {
  return per_second(decode_steps, decode_ms);
}

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::load(const std::filesystem::path& path,
                                             const EngineOptions& options) {
  try {
    auto parts = std::make_unique<Parts>();
    ONEBEAT_ASSIGN_OR_RETURN(
        parts->pool,
        ThreadPool::create(options.threads.value_or(ThreadPool::available_processors())));
    ONEBEAT_ASSIGN_OR_RETURN(parts->model, Model::load(path));
    const ModelConfig& config = parts->model->config();
    ONEBEAT_ASSIGN_OR_RETURN(parts->options, runner_options(options, config));
    ONEBEAT_ASSIGN_OR_RETURN(parts->runner,
                             CpuRunner::create(*parts->model, parts->options, *parts->pool));
    parts->sampler = std::make_unique<Sampler>(config.vocabulary);
    parts->facts = {config.name,
                    config.architecture,
                    config.num_layers,
                    config.vocabulary,
                    config.context_tokens,
                    parts->model->family().bytes_per_pass(),
                    kv_bytes_per_token(config, parts->options.kv_type)};
    return std::unique_ptr<Engine>(new Engine(std::move(parts)));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory to load {}", path.string());
  }
}

Status Engine::Parts::check(const GenerateRequest& request) const {
  ONEBEAT_RETURN_IF_ERROR(validate(request.sampling, facts.vocabulary));
  if (request.prompt.empty())
    return invalid_argument("the prompt is empty; it needs at least one token");
  if (request.max_tokens < 0) {
    return out_of_range("max_tokens is {}; it must be at least 0", request.max_tokens);
  }
  if (static_cast<std::int64_t>(request.prompt.size()) > options.context_tokens) {
    return out_of_range("the prompt has {} tokens; the context has room for {}",
                        request.prompt.size(), options.context_tokens);
  }
  for (std::size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= facts.vocabulary) {
      return out_of_range("token {} of the prompt has id {}; the model's ids are from 0 to {}", i,
                          request.prompt[i], facts.vocabulary - 1);
    }
  }
  return Status();
}

Status Engine::Parts::run_prompt(std::int32_t row, const GenerateRequest& request,
                                 GenerateResult& result) {
  std::span<const std::int32_t> rest = request.prompt;
  while (!rest.empty()) {
    if (request.cancelled && request.cancelled()) {
      result.finish_reason = FinishReason::kCancelled;
      return Status();
    }
    const auto chunk =
        rest.first(std::min(rest.size(), static_cast<std::size_t>(options.prefill_chunk)));
    rest = rest.subspan(chunk.size());
    ONEBEAT_RETURN_IF_ERROR(
        runner->prefill(row, chunk, rest.empty() ? PromptLogits::kLast : PromptLogits::kNone));
    result.timings.prompt_tokens += static_cast<std::int64_t>(chunk.size());
  }
  return Status();
}

Status Engine::Parts::run_reply(std::int32_t row, const GenerateRequest& request,
                                Clock::time_point begin, GenerateResult& result) {
  Clock::time_point first;
  const bool counted = has_penalties(request.sampling);
  if (counted) {
    counts.reset(std::min(request.prompt.size() + static_cast<std::size_t>(request.max_tokens),
                          static_cast<std::size_t>(facts.vocabulary)));
    counts.add_prompt(request.prompt);
  }
  for (std::int32_t n = 0; n < request.max_tokens; ++n) {
    const ConstMatrix logits = runner->logits();
    const SampleInput input = {{logits.row(0), static_cast<std::size_t>(logits.cols)},
                               request.sampling,
                               static_cast<std::uint64_t>(n),
                               &counts};
    ONEBEAT_ASSIGN_OR_RETURN(const SampledToken sampled, sampler->sample(input));
    const std::int32_t token = sampled.id;
    if (counted) counts.add_generated(token);
    const Clock::time_point now = Clock::now();
    if (n == 0) {
      first = now;
      result.timings.first_token_ms = ms_between(begin, now);
    }
    result.timings.decode_ms = ms_between(first, now);
    result.timings.decode_steps = n;
    if (std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) !=
        request.stop_tokens.end()) {
      result.finish_reason = FinishReason::kStop;
      return Status();
    }
    result.tokens.push_back(token);
    if (request.on_token && !request.on_token(token)) {
      result.finish_reason = FinishReason::kStop;
      return Status();
    }
    const bool last = n + 1 == request.max_tokens || runner->length(row) == options.context_tokens;
    if (last) return Status();
    if (request.cancelled && request.cancelled()) {
      result.finish_reason = FinishReason::kCancelled;
      return Status();
    }
    const DecodeInput next = {row, token};
    ONEBEAT_RETURN_IF_ERROR(runner->decode({&next, 1}));
  }
  return Status();
}

Result<GenerateResult> Engine::generate(const GenerateRequest& request) {
  const Clock::time_point begin = Clock::now();
  ONEBEAT_RETURN_IF_ERROR(parts_->check(request));
  GenerateResult result;
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t row, parts_->runner->open_request());
  Status status = parts_->run_prompt(row, request, result);
  result.timings.prefill_ms = ms_between(begin, Clock::now());
  if (status.ok() && result.finish_reason != FinishReason::kCancelled) {
    status = parts_->run_reply(row, request, begin, result);
  }
  parts_->runner->close_request(row);
  parts_->counters = parts_->runner->counters();
  if (!status.ok()) return status;
  return result;
}

const ModelFacts& Engine::facts() const {
  return parts_->facts;
}
const EngineCounters& Engine::counters() const {
  return parts_->counters;
}
std::int64_t Engine::context_tokens() const {
  return parts_->options.context_tokens;
}
int Engine::threads() const {
  return parts_->pool->threads();
}
CpuIsa Engine::isa() const {
  return parts_->options.isa;
}

}  // namespace onebeat
