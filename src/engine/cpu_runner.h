// SPDX-License-Identifier: Apache-2.0
// CpuRunner: runs forward passes of a model on the CPU over a paged cache. A decode step goes
// through step preparation, which makes its plans once; every layer then executes them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/kv_storage.h"
#include "kv/page_pool.h"
#include "model/cpu_layer_ops.h"
#include "model/model.h"
#include "onebeat/engine.h"
#include "onebeat/step.h"

namespace onebeat {

struct CpuRunnerOptions {
  ComputeMode mode = ComputeMode::kAuto;
  CpuIsa isa = CpuIsa::kPortable;
  KvType kv_type = KvType::kF16;
  std::int64_t context_tokens = 0;   ///< Longest request.
  std::int32_t max_requests = 1;     ///< Most requests at once; each can fill its context.
  std::int32_t prefill_chunk = 256;  ///< Most tokens of one prefill().
  std::int32_t max_output_rows =
      1;  ///< Most tokens of one pass whose logits are wanted; at least max_requests.
};

/// Which tokens of a part of a prompt need logits.
enum class PromptLogits : std::uint8_t { kNone, kLast, kAll };

/// The next token of a request.
struct DecodeInput {
  std::int32_t request = 0;
  std::int32_t token = 0;
};

/// For one call at a time. After create() and the first passes nothing allocates.
class CpuRunner {
 public:
  /// `model` and `pool` must outlive it. Errors: kInvalidArgument, kOutOfRange, kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<CpuRunner>> create(const Model& model,
                                                                 const CpuRunnerOptions& options,
                                                                 ThreadPool& pool);

  /// A new, empty request. Errors: kResourceExhausted.
  [[nodiscard]] Result<std::int32_t> open_request();
  void close_request(std::int32_t request);
  /// Tokens of the request in the cache.
  [[nodiscard]] std::int32_t length(std::int32_t request) const {
    return lens_[static_cast<std::size_t>(request)];
  }

  /// Appends tokens to a request. Errors: kOutOfRange (too many, an id beyond the vocabulary),
  /// kResourceExhausted (no pages); the request is then as before.
  [[nodiscard]] Status prefill(std::int32_t request, std::span<const std::int32_t> tokens,
                               PromptLogits wanted);
  /// Appends one token to each of some requests, no request twice, and computes their logits.
  [[nodiscard]] Status decode(std::span<const DecodeInput> inputs);

  /// Of the last pass, in the order of its tokens: [rows, vocabulary].
  [[nodiscard]] ConstMatrix logits() const { return ops_->logits(); }
  [[nodiscard]] EngineCounters counters() const;

 private:
  CpuRunner(const Model& model, const CpuRunnerOptions& options)
      : model_(model), options_(options) {}
  [[nodiscard]] Status make_planner();
  [[nodiscard]] Status reserve(std::int32_t request, std::int64_t tokens);
  [[nodiscard]] Status prepare_step(std::span<const DecodeInput> inputs);
  [[nodiscard]] PageMap page_map() const;

  /// One attention class: its plan's bytes and the scratch of its launches.
  struct ClassMemory {
    std::vector<std::byte> plan;  // 16 bytes longer than the plan, to align it
    std::vector<float> outputs, stats;
    std::vector<std::uint32_t> counters;
    [[nodiscard]] std::byte* plan_bytes();
  };

  const Model& model_;
  CpuRunnerOptions options_;
  std::unique_ptr<PagePool> pages_;
  std::unique_ptr<KvStorage> storage_;
  std::unique_ptr<StepPlanner> planner_;
  std::vector<ClassMemory> classes_;
  std::unique_ptr<CpuLayerOps> ops_;
  std::vector<std::int32_t> lens_;  // of each request

  // The pass being run.
  std::vector<std::int32_t> tokens_, positions_, rows_of_, slots_, output_rows_;
  std::vector<PlanView> plans_;
  EngineCounters counters_;
};

}  // namespace onebeat
