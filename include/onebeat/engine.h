// SPDX-License-Identifier: Apache-2.0
// Engine: a model that generates tokens. Ids in, ids out; texts are the business of a tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/compute.h"
#include "onebeat/geometry.h"
#include "onebeat/request.h"
#include "onebeat/status.h"

namespace onebeat {

struct EngineOptions {
  /// Threads that compute, the caller's included; empty: as many as this process may run on.
  std::optional<int> threads;
  ComputeMode compute = ComputeMode::kAuto;
  /// Longest sequence, prompt and reply together; empty: the model's own, but at most
  /// kDefaultContextTokens.
  std::optional<std::int64_t> context_tokens;
  /// Element type of the KV cache (kF32, kF16 or kBF16); empty: kF16, or kF32 with
  /// ComputeMode::kF32.
  std::optional<KvType> kv_type;
  /// Instruction set of the matrix products; empty: the best that this machine has.
  std::optional<CpuIsa> isa;
  /// Completions that are computed at once, 1 to 4,096; the others wait.
  std::int32_t max_requests = 16;
  /// Requests that may wait, 1 to 1,048,576; more are refused.
  std::int32_t max_waiting = 1024;
  /// Tokens of the KV cache, which all requests share, at least one context; empty: max_requests
  /// contexts, or what half of the available memory holds.
  std::optional<std::int64_t> cache_tokens;
  /// Keeps the KV of finished requests, and of interrupted ones, while nobody else needs the
  /// memory: a prompt that begins like an earlier one is computed from where they part.
  bool reuse_prefixes = true;
  /// Tokens of prompts that are computed in one step, 1 to 65,536: more are faster and need more
  /// memory.
  std::int32_t prefill_chunk = 256;
  /// The same in steps in which other requests decode, which wait for them: at least 1; more than
  /// prefill_chunk means that.
  std::int32_t prefill_chunk_beside_decode = 64;
  /// Tokens and log-probabilities of a request are the same, bit for bit, whatever runs beside it
  /// and whatever was computed before it, with any number of threads, on one machine. Without it a
  /// CPU's replies still do not depend on company; but tokens that one request wrote and another
  /// reads as its prompt's beginning, found in the cache, may have other last bits than if
  /// computed.
  bool batch_invariant = false;
  /// Steps that are begun before the first of them has ended, 1 or 2. On a CPU 2 gains nothing.
  std::int32_t steps_in_flight = 1;
};

/// Context of an engine that was not asked for another: memory for it is only used as sequences
/// grow into it.
inline constexpr std::int64_t kDefaultContextTokens = 8192;

/// One completion of a prompt, for generate(). Borrowed for the call.
struct GenerateRequest {
  std::span<const std::int32_t> prompt;  ///< At least one id.
  std::int32_t max_tokens = 64;          ///< Most tokens to generate, 0 or more.
  std::span<const std::int32_t>
      stop_tokens;  ///< Any of these ends the reply and is not part of it.
  SamplingParams sampling;
  /// Asked between steps, on the calling thread: true ends the reply with what there is. Empty:
  /// never.
  std::function<bool()> cancelled;
  /// Called with each token as soon as it is known, on the thread that runs the steps (the calling
  /// one, unless start() was called); false ends the reply. Empty: not wanted.
  std::function<bool(std::int32_t)> on_token;
};

/// Where the time of a reply went.
struct GenerateTimings {
  double prefill_ms = 0;           ///< From the call until the prompt is computed; with other
                                   ///< requests beside it, all that was done meanwhile.
  double first_token_ms = 0;       ///< From the call until the first token is known; 0 without one.
  double decode_ms = 0;            ///< From the first token to the last.
  std::int64_t prompt_tokens = 0;  ///< Tokens computed in prefill_ms.
  std::int64_t cached_tokens = 0;  ///< Tokens of the prompt that an earlier request had computed.
  std::int64_t decode_steps = 0;   ///< Steps in decode_ms: one less than tokens drawn.

  /// Prompt tokens a second; 0 if there were none.
  [[nodiscard]] double prefill_tokens_per_second() const;
  /// Decode steps a second; 0 if there were none.
  [[nodiscard]] double decode_tokens_per_second() const;
};

struct GenerateResult {
  std::vector<std::int32_t> tokens;
  FinishReason finish_reason = FinishReason::kLength;
  GenerateTimings timings;
};

/// What an engine has done since it was loaded.
struct EngineCounters {
  std::int64_t steps = 0;         ///< Forward passes.
  std::int64_t decode_steps = 0;  ///< Of these with requests that decode.
  std::int64_t plans_made =
      0;  ///< Plans that step preparation made: one for each such step and attention class.
  std::int64_t planned_attentions =
      0;  ///< Attention launches that executed such a plan: one for each step and layer.
  std::int64_t prefill_chunks = 0;  ///< Parts of prompts computed.
  std::int64_t generated_tokens = 0;
  std::int64_t computed_prompt_tokens = 0;  ///< Of finished requests, each token once.
  std::int64_t cached_prompt_tokens = 0;    ///< The same, found in the cache.
  std::int64_t finished_requests = 0;
  std::int64_t preemptions = 0;  ///< Times that a request gave up its pages to another.
};

/// What an engine is doing. Pages are the units of the KV cache.
struct EngineLoad {
  std::int32_t waiting_requests = 0;
  std::int32_t running_completions = 0;
  std::int32_t total_pages = 0;
  std::int32_t available_pages = 0;  ///< That nobody runs on, kept ones included.
  std::int32_t kept_pages = 0;       ///< That nobody runs on, and whose prefix may be reused.
  std::int32_t page_tokens = 0;
};

/// Facts about a loaded model.
struct ModelFacts {
  std::string name;  ///< What the file calls it; may be empty.
  std::string architecture;
  std::int32_t num_layers = 0;
  std::int32_t vocabulary = 0;            ///< Ids are below it.
  std::int64_t model_context_tokens = 0;  ///< What the model was made for.
  std::int64_t bytes_per_pass = 0;        ///< Weights that one step reads.
  std::int64_t kv_bytes_per_token = 0;    ///< K and V of one token in all layers.
};

class Model;
class Tokenizer;

/// Computes many requests at once. Whoever calls step() or generate() runs the steps; after start()
/// a thread of the engine does. All functions may be called from any thread.
class Engine {
 public:
  /// Maps the model, a .gguf file or a folder with config.json and safetensors weights, and makes
  /// everything that generating needs. Errors: kNotFound, kUnavailable, kDataLoss or kUnsupported
  /// (a file that is missing, unreadable, damaged, or of an architecture or quantisation that is
  /// not implemented, by name); kInvalidArgument or kOutOfRange (an option, with its value and
  /// limits); kResourceExhausted (a context that the memory does not hold, with the one that it
  /// would).
  [[nodiscard]] static Result<std::unique_ptr<Engine>> load(const std::filesystem::path& path,
                                                            const EngineOptions& options = {});
  /// Ends what is unfinished (kCancelled).
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// For requests that want text. Before the first of them; errors: kInvalidArgument if it has more
  /// tokens than the model.
  [[nodiscard]] Status set_tokenizer(std::shared_ptr<const Tokenizer> tokenizer);

  /// Takes a request in. Its events come from the steps. Errors, with the values and limits:
  /// kInvalidArgument (an empty prompt, sampling parameters, stop strings, text without a
  /// tokenizer); kOutOfRange (an id beyond the vocabulary, a prompt longer than the context, a
  /// count); kResourceExhausted (the queue is full); kUnavailable after stop(). A request that is
  /// refused has no events and leaves nothing behind.
  [[nodiscard]] Result<RequestId> submit(Request request);
  /// Ends a request where it is, waiting or running, before the next step; what it computed stays
  /// reusable. False: it has ended already, or never was.
  bool cancel(RequestId request);

  /// Runs one step of what has been submitted. Returns whether there is more to do.
  bool step();

  /// Starts a thread that runs the steps whenever there is something to do. Errors:
  /// kResourceExhausted; kInvalidArgument if it runs already.
  [[nodiscard]] Status start();
  /// Ends all requests (kCancelled) and the thread; takes nothing in from here on. Not from an
  /// on_event().
  void stop();

  /// Computes the prompt and generates, beside whatever else was submitted. Errors: those of
  /// submit(), and kInternal (the model gave logits that are no numbers). A reply that was
  /// cancelled is no error. Not from an on_event().
  [[nodiscard]] Result<GenerateResult> generate(const GenerateRequest& request);
  /// Many at once; one result for each, in their order.
  [[nodiscard]] std::vector<Result<GenerateResult>> generate(
      std::span<const GenerateRequest> requests);

  /// Forgets the KV that is kept for reuse.
  void drop_kept_prefixes();

  /// The model behind it, for the tokenizer and the chat template in its files.
  [[nodiscard]] const Model& model() const;
  [[nodiscard]] const ModelFacts& facts() const;
  [[nodiscard]] EngineCounters counters() const;
  [[nodiscard]] EngineLoad load_now() const;
  [[nodiscard]] std::int64_t context_tokens() const;
  [[nodiscard]] int threads() const;
  /// Instruction set of the matrix products.
  [[nodiscard]] CpuIsa isa() const;

 private:
  struct Parts;
  explicit Engine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace onebeat
