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
#include "onebeat/sampling.h"
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
  /// Tokens of a prompt that are computed together, 1 to 65,536: more are faster and need more
  /// memory.
  std::int32_t prefill_chunk = 256;
};

/// Context of an engine that was not asked for another: memory for it is only used as sequences
/// grow into it.
inline constexpr std::int64_t kDefaultContextTokens = 8192;

/// What to generate. Borrowed for the call.
struct GenerateRequest {
  std::span<const std::int32_t> prompt;  ///< At least one id.
  std::int32_t max_tokens = 64;          ///< Most tokens to generate, 0 or more.
  std::span<const std::int32_t>
      stop_tokens;  ///< Any of these ends the reply and is not part of it.
  SamplingParams sampling;
  /// Asked between steps, on the calling thread: true ends the reply with what there is. Empty:
  /// never.
  std::function<bool()> cancelled;
  /// Called on the calling thread with each token as soon as it is known; false ends the reply.
  /// Empty: not wanted.
  std::function<bool(std::int32_t)> on_token;
};

/// Why a reply ended.
enum class FinishReason : std::uint8_t {
  kLength,     ///< max_tokens, or the context is full.
  kStop,       ///< A stop token, or on_token() said so.
  kCancelled,  ///< cancelled() said so.
};

/// "length", "stop" or "cancelled"; static storage.
[[nodiscard]] std::string_view to_string(FinishReason reason);

/// Where the time of a reply went.
struct GenerateTimings {
  double prefill_ms = 0;           ///< From the call until the prompt is computed.
  double first_token_ms = 0;       ///< From the call until the first token is known; 0 without one.
  double decode_ms = 0;            ///< From the first token to the last.
  std::int64_t prompt_tokens = 0;  ///< Tokens computed in prefill_ms.
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
  std::int64_t decode_steps = 0;  ///< Steps prepared and run.
  std::int64_t plans_made =
      0;  ///< Plans that step preparation made: one for each step and attention class.
  std::int64_t planned_attentions =
      0;  ///< Attention launches that executed such a plan: one for each step and layer.
  std::int64_t prefill_chunks = 0;  ///< Parts of prompts computed.
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

/// For one call at a time.
class Engine {
 public:
  /// Maps the model file (.gguf) and makes everything that generating needs.
  /// Errors: kNotFound, kUnavailable, kDataLoss or kUnsupported (a file that is missing,
  /// unreadable, damaged, or of an architecture or quantisation that is not implemented, by name);
  /// kInvalidArgument or kOutOfRange (an option, with its value and limits); kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> load(const std::filesystem::path& path,
                                                            const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Computes the prompt and generates. Errors: kInvalidArgument (an empty prompt, sampling
  /// parameters), kOutOfRange (an id beyond the vocabulary, a prompt longer than the context, a
  /// negative count, each with both numbers), kInternal (the model gave logits that are no
  /// numbers). A reply that was cancelled is no error.
  [[nodiscard]] Result<GenerateResult> generate(const GenerateRequest& request);

  [[nodiscard]] const ModelFacts& facts() const;
  [[nodiscard]] const EngineCounters& counters() const;
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
