// SPDX-License-Identifier: Apache-2.0
// What planners and attentions of the C ABI do on their device: one twin for the processor, one for
// CUDA devices. They take the caller's structs, copied and of the right size, and translate them.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "c_api/executors/turns.h"
#include "onebeat/onebeat.h"
#include "onebeat/plan.h"
#include "onebeat/step.h"
#include "onebeat/thread_pool.h"

namespace onebeat::c_api {

/// A step planner and how its steps are prepared on its device.
class StepExecutor {
 public:
  explicit StepExecutor(StepPlanner planner) : planner_(std::move(planner)) {}
  virtual ~StepExecutor() = default;
  StepExecutor(const StepExecutor&) = delete;
  StepExecutor& operator=(const StepExecutor&) = delete;

  [[nodiscard]] const StepPlanner& planner() const { return planner_; }
  [[nodiscard]] virtual Status prepare(const onebeat_step& step, void* stream) = 0;

 protected:
  StepPlanner planner_;
};

/// Attention of one class on one device.
class AttentionExecutor {
 public:
  AttentionExecutor() = default;
  virtual ~AttentionExecutor() = default;
  AttentionExecutor(const AttentionExecutor&) = delete;
  AttentionExecutor& operator=(const AttentionExecutor&) = delete;

  /// Static storage, ends with a NUL.
  [[nodiscard]] virtual const char* variant() const = 0;
  [[nodiscard]] virtual Status decode(const onebeat_plan& plan,
                                      const onebeat_attention_launch& launch,
                                      const onebeat_scratch& scratch, void* stream) = 0;
  [[nodiscard]] virtual Status prefill(const onebeat_prefill_batch& batch,
                                       const onebeat_attention_launch& launch, void* stream) = 0;
  [[nodiscard]] virtual Status merge(const onebeat_merge_launch& launch, void* stream) = 0;
  [[nodiscard]] virtual Status append(const onebeat_append_launch& launch, void* stream) = 0;
};

/// Threads that several attentions share, one call at a time.
struct SharedThreads {
  std::unique_ptr<ThreadPool> pool;
  Turns turns;
};

using StepExecutorResult = Result<std::unique_ptr<StepExecutor>>;
using AttentionExecutorResult = Result<std::unique_ptr<AttentionExecutor>>;

[[nodiscard]] StepExecutorResult make_cpu_step_executor(StepPlanner planner);
[[nodiscard]] AttentionExecutorResult make_cpu_attention(const AttentionGeometry& geometry,
                                                         std::shared_ptr<SharedThreads> threads,
                                                         std::string_view variant);

// Of a build without CUDA: kUnsupported.
[[nodiscard]] StepExecutorResult make_cuda_step_executor(std::int32_t device, StepPlanner planner);
[[nodiscard]] AttentionExecutorResult make_cuda_attention(std::int32_t device,
                                                          const AttentionGeometry& geometry,
                                                          std::string_view variant);
/// Sets tile_tokens and workers for a CUDA device; returns its cost model.
[[nodiscard]] Result<CostModel> tune_for_cuda(std::int32_t device, AttentionGeometry& geometry);
/// Name of variant `index`, or null.
[[nodiscard]] const char* cuda_variant_name(std::int32_t index);

}  // namespace onebeat::c_api
