// SPDX-License-Identifier: Apache-2.0
#include "onebeat/engine.h"

#include <algorithm>
#include <new>
#include <system_error>

#include "base/error.h"
#include "device/machine_facts.h"
#include "engine/cache_size.h"
#include "engine/cpu/cpu_executor.h"
#include "engine/engine_parts.h"
#include "ops/cpu/isa.h"

namespace onebeat {
namespace {

Status check_count(const char* what, std::int64_t value, std::int64_t most) {
  if (value < 1 || value > most)
    return out_of_range("{} is {}; it must be from 1 to {}", what, value, most);
  return Status();
}

Status check_options(const EngineOptions& options) {
  ONEBEAT_RETURN_IF_ERROR(check_count("max_requests", options.max_requests, 4096));
  ONEBEAT_RETURN_IF_ERROR(check_count("max_waiting", options.max_waiting, 1 << 20));
  ONEBEAT_RETURN_IF_ERROR(check_count("the prefill chunk", options.prefill_chunk, 65536));
  ONEBEAT_RETURN_IF_ERROR(check_count("the prefill chunk beside decode",
                                      options.prefill_chunk_beside_decode, INT32_MAX));
  return check_count("steps_in_flight", options.steps_in_flight, StepLoop::kMaxInFlight);
}

Result<CpuIsa> chosen_isa(const EngineOptions& options) {
  const CpuIsa isa = options.isa.value_or(best_isa());
  if (!supports(isa)) return unsupported("this machine cannot run kernels for {}", to_string(isa));
  return isa;
}

Result<CpuForwardOptions> forward_options(const EngineOptions& options, const ModelConfig& config) {
  CpuForwardOptions chosen;
  chosen.mode = options.compute;
  ONEBEAT_ASSIGN_OR_RETURN(chosen.isa, chosen_isa(options));
  chosen.kv_type =
      options.kv_type.value_or(options.compute == ComputeMode::kF32 ? KvType::kF32 : KvType::kF16);
  chosen.context_tokens = options.context_tokens.value_or(
      std::min<std::int64_t>(config.context_tokens, kDefaultContextTokens));
  if (chosen.context_tokens < 1 || chosen.context_tokens > config.context_tokens) {
    return out_of_range("the context is {} tokens; this model takes from 1 to {}",
                        chosen.context_tokens, config.context_tokens);
  }
  chosen.prompts_on_tiles = !options.batch_invariant;
  chosen.max_decode_rows = options.max_requests;
  chosen.max_rows = options.prefill_chunk + options.max_requests;
  chosen.max_output_rows = options.max_requests;
  return chosen;
}

/// What the cache may fill: the memory that is there, less the weights, which may not be in it yet.
std::int64_t memory_for_cache(const ModelFacts& facts) {
  const MemoryFacts memory = memory_facts();
  std::int64_t bytes = memory.available_bytes;
  if (memory.limit_bytes > 0) bytes = std::min(bytes, memory.limit_bytes);
  return bytes - facts.bytes_per_pass;
}

}  // namespace

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kFailed:
      return "failed";
  }
  return "unknown";
}

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Engine::~Engine() {
  stop();
}

Result<std::unique_ptr<Engine>> Engine::load(const std::filesystem::path& path,
                                             const EngineOptions& options) {
  try {
    ONEBEAT_RETURN_IF_ERROR(check_options(options));
    auto parts = std::make_unique<Parts>();
    ONEBEAT_ASSIGN_OR_RETURN(
        parts->pool,
        ThreadPool::create(options.threads.value_or(ThreadPool::available_processors())));
    ONEBEAT_ASSIGN_OR_RETURN(const CpuIsa isa, chosen_isa(options));
    ONEBEAT_ASSIGN_OR_RETURN(
        parts->model, Model::load(path, std::make_unique<WeightPacker>(
                                            LinearOptions{options.compute, isa}, *parts->pool)));
    const ModelConfig& config = parts->model->config();
    ONEBEAT_ASSIGN_OR_RETURN(parts->forward, forward_options(options, config));
    parts->facts = {config.name,
                    config.architecture,
                    config.num_layers,
                    config.vocabulary,
                    config.context_tokens,
                    parts->model->family().bytes_per_pass(),
                    kv_bytes_per_token(config, parts->forward.kv_type)};
    const std::int64_t context = parts->forward.context_tokens;
    parts->limits = {config.vocabulary, context, options.max_requests, nullptr};

    ONEBEAT_ASSIGN_OR_RETURN(
        const std::int32_t pages,
        choose_cache_pages({context, options.max_requests, options.cache_tokens, kCpuPageTokens,
                            parts->facts.kv_bytes_per_token, memory_for_cache(parts->facts)}));
    const auto row_pages =
        static_cast<std::int32_t>((context + kCpuPageTokens - 1) / kCpuPageTokens);
    ONEBEAT_ASSIGN_OR_RETURN(
        PageCache cache, PageCache::create({pages, kCpuPageTokens, options.max_requests, row_pages},
                                           options.reuse_prefixes));
    parts->cache = std::make_unique<PageCache>(std::move(cache));
    ONEBEAT_ASSIGN_OR_RETURN(
        std::unique_ptr<StepExecutor> executor,
        CpuExecutor::create(*parts->model, parts->forward, parts->cache->pool(), *parts->pool));

    parts->queue = std::make_unique<RequestQueue>(options.max_waiting);
    SchedulerLimits limits;
    limits.max_sequences = options.max_requests;
    limits.max_waiting = options.max_waiting;
    limits.prompt_tokens = options.prefill_chunk;
    limits.prompt_tokens_beside_decode =
        std::min(options.prefill_chunk, options.prefill_chunk_beside_decode);
    parts->loop = std::make_unique<StepLoop>(limits, *parts->cache, std::move(executor),
                                             *parts->queue, options.steps_in_flight);
    return std::unique_ptr<Engine>(new Engine(std::move(parts)));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory to load {}", path.string());
  }
}

Status Engine::set_tokenizer(std::shared_ptr<const Tokenizer> tokenizer) {
  if (tokenizer->vocabulary_size() > facts().vocabulary) {
    return invalid_argument("the tokenizer has {} tokens, the model {}",
                            tokenizer->vocabulary_size(), facts().vocabulary);
  }
  parts_->limits.tokenizer = std::move(tokenizer);
  return Status();
}

Result<RequestId> Engine::submit(Request request) {
  ONEBEAT_RETURN_IF_ERROR(check_request(request, parts_->limits));
  try {
    return parts_->queue->push(make_active(std::move(request), parts_->limits));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory for one more request");
  }
}

bool Engine::cancel(RequestId request) {
  return parts_->queue->cancel(request);
}

bool Engine::step() {
  return parts_->step();
}

void Engine::Parts::run_until_stopped() {
  while (!stopping.load(std::memory_order_acquire)) {
    if (!step()) queue->wait();
  }
}

Status Engine::start() {
  const std::lock_guard lock(parts_->thread_mutex);
  if (parts_->thread.joinable()) return invalid_argument("the engine's thread runs already");
  try {
    parts_->stopping = false;
    parts_->thread = std::thread([this] { parts_->run_until_stopped(); });
    parts_->threaded = true;
  } catch (const std::system_error& error) {
    return resource_exhausted("the system gives no thread: {}", error.what());
  }
  return Status();
}

void Engine::stop() {
  const std::lock_guard lock(parts_->thread_mutex);
  parts_->queue->close();
  if (parts_->thread.joinable()) {
    parts_->stopping.store(true, std::memory_order_release);
    parts_->queue->wake();
    parts_->thread.join();
    parts_->threaded = false;
  }
  parts_->queue->cancel_all();
  while (step()) {
  }
}

void Engine::drop_kept_prefixes() {
  const auto lock = parts_->between_steps();
  parts_->cache->drop_unused();
}

const Model& Engine::model() const {
  return *parts_->model;
}
const ModelFacts& Engine::facts() const {
  return parts_->facts;
}

EngineCounters Engine::counters() const {
  const auto lock = parts_->between_steps();
  const LoopCounters& loop = parts_->loop->counters();
  EngineCounters counters = parts_->loop->executor().counters();
  counters.steps = loop.steps;
  counters.generated_tokens = loop.generated_tokens;
  counters.computed_prompt_tokens = loop.computed_prompt_tokens;
  counters.cached_prompt_tokens = loop.cached_prompt_tokens;
  counters.finished_requests = loop.finished_requests;
  counters.preemptions = parts_->loop->scheduler().preemptions();
  return counters;
}

EngineLoad Engine::load_now() const {
  const auto lock = parts_->between_steps();
  const PageCache& cache = *parts_->cache;
  return {parts_->queue->waiting(), parts_->loop->scheduler().num_running(),
          cache.shape().num_pages,  cache.available_pages(),
          cache.unused_pages(),     cache.shape().page_tokens};
}

std::int64_t Engine::context_tokens() const {
  return parts_->forward.context_tokens;
}
int Engine::threads() const {
  return parts_->pool->threads();
}
CpuIsa Engine::isa() const {
  return parts_->forward.isa;
}

}  // namespace onebeat
