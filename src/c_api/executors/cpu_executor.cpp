// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "c_api/attention_structs.h"
#include "c_api/executors/executor.h"
#include "c_api/launch_trace.h"
#include "c_api/step_structs.h"

namespace onebeat::c_api {
namespace {

class CpuStepExecutor final : public StepExecutor {
 public:
  using StepExecutor::StepExecutor;

  Status prepare(const onebeat_step& step, void*) override {
    ONEBEAT_ASSIGN_OR_RETURN(const StepArguments arguments, step_arguments_from(step));
    const Turns::Turn turn(turns_);
    if (!turn.taken()) return resource_exhausted("another thread prepares a step of this planner");
    ONEBEAT_RETURN_IF_ERROR(planner_.prepare(arguments));
    add_to_trace(step.trace, {"prepare_step", "cpu", -1, ONEBEAT_CPU});
    return {};
  }

 private:
  Turns turns_;
};

class CpuAttention final : public AttentionExecutor {
 public:
  CpuAttention(const AttentionGeometry& geometry, std::shared_ptr<SharedThreads> threads,
               std::string_view variant)
      : geometry_(geometry), threads_(std::move(threads)), variant_(variant) {}

  const char* variant() const override { return variant_.data(); }

  Status decode(const onebeat_plan& plan, const onebeat_attention_launch& launch,
                const onebeat_scratch& scratch, void*) override {
    ONEBEAT_RETURN_IF_ERROR(check_version(plan, launch));
    ONEBEAT_RETURN_IF_ERROR(check_array("plan.data", plan.data, plan.bytes));
    const std::span bytes(static_cast<const std::byte*>(plan.data),
                          static_cast<std::size_t>(plan.bytes));
    ONEBEAT_ASSIGN_OR_RETURN(const PlanView view, PlanView::open(bytes, geometry_));
    ONEBEAT_ASSIGN_OR_RETURN(const AttentionScratch room, scratch_from(scratch));
    return run(launch, "decode_attention", [&](const AttentionLaunch& checked) {
      return decode_attention(view, checked, room, *threads_->pool);
    });
  }

  Status prefill(const onebeat_prefill_batch& batch, const onebeat_attention_launch& launch,
                 void*) override {
    const std::int64_t requests = batch.num_requests;
    ONEBEAT_RETURN_IF_ERROR(check_array("lens", batch.lens, requests));
    ONEBEAT_RETURN_IF_ERROR(check_array("query_begin", batch.query_begin, requests + 1));
    const auto count = static_cast<std::size_t>(requests);
    const PrefillBatch prompts{{batch.query_begin, count + 1}, {batch.lens, count}};
    return run(launch, "prefill_attention", [&](const AttentionLaunch& checked) {
      return prefill_attention(geometry_, prompts, checked, *threads_->pool);
    });
  }

  Status merge(const onebeat_merge_launch& launch, void*) override {
    std::array<AttentionState, kMostMergedStates> states;
    ONEBEAT_ASSIGN_OR_RETURN(MergeStates checked, merge_from(launch, geometry_, states));
    const Turns::Turn turn(threads_->turns);
    if (!turn.taken()) return busy();
    ONEBEAT_RETURN_IF_ERROR(merge_states(checked, *threads_->pool));
    add_to_trace(launch.trace, {"merge_states", "cpu", launch.layer, ONEBEAT_CPU});
    return {};
  }

  Status append(const onebeat_append_launch& launch, void*) override {
    AppendLaunch checked;
    ONEBEAT_ASSIGN_OR_RETURN(checked.k, rows_from<const float>("k", launch.k, ONEBEAT_TYPE_F32));
    ONEBEAT_ASSIGN_OR_RETURN(checked.v, rows_from<const float>("v", launch.v, ONEBEAT_TYPE_F32));
    ONEBEAT_RETURN_IF_ERROR(check_array("slots", launch.slots, launch.num_tokens));
    checked.slots = {launch.slots, static_cast<std::size_t>(launch.num_tokens)};
    ONEBEAT_ASSIGN_OR_RETURN(checked.kv, kv_pool_from(launch.kv));
    ONEBEAT_RETURN_IF_ERROR(check_pool(checked.kv, geometry_));
    checked.variant = variant_;
    AttentionReport report;
    checked.report = &report;
    const Turns::Turn turn(threads_->turns);
    if (!turn.taken()) return busy();
    const Status status = append_kv(checked, *threads_->pool);
    finish(launch, report, "append_kv");
    return status;
  }

 private:
  static Status busy() {
    return resource_exhausted("another call runs on this thread pool; it takes one at a time");
  }

  template <typename Body>
  Status run(const onebeat_attention_launch& launch, const char* operation, Body&& body) {
    AttentionLaunch checked;
    ONEBEAT_ASSIGN_OR_RETURN(checked.q, rows_from<const float>("q", launch.q, ONEBEAT_TYPE_F32));
    ONEBEAT_ASSIGN_OR_RETURN(checked.out, rows_from<float>("out", launch.out, ONEBEAT_TYPE_F32));
    checked.lse = lse_from(launch.lse);
    checked.score = score_from(launch);
    ONEBEAT_ASSIGN_OR_RETURN(checked.kv, kv_pool_from(launch.kv));
    checked.pages = page_map_from(launch.pages);
    checked.variant = variant_;
    AttentionReport report;
    checked.report = &report;
    const Turns::Turn turn(threads_->turns);
    if (!turn.taken()) return busy();
    const Status status = body(checked);
    finish(launch, report, operation);
    return status;
  }

  /// A report without a variant is one of a call that did not run.
  template <typename Launch>
  static void finish(const Launch& launch, const AttentionReport& report, const char* operation) {
    if (report.variant.empty()) return;
    if (launch.faults != nullptr) *launch.faults |= report.faults;
    add_to_trace(launch.trace, {operation, report.variant.data(), launch.layer, ONEBEAT_CPU});
  }

  AttentionGeometry geometry_;
  std::shared_ptr<SharedThreads> threads_;
  std::string_view variant_;
};

}  // namespace

StepExecutorResult make_cpu_step_executor(StepPlanner planner) {
  return std::unique_ptr<StepExecutor>(std::make_unique<CpuStepExecutor>(std::move(planner)));
}

AttentionExecutorResult make_cpu_attention(const AttentionGeometry& geometry,
                                           std::shared_ptr<SharedThreads> threads,
                                           std::string_view variant) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  for (const CpuVariant& known : cpu_attention_variants()) {
    if (variant.empty() ? !known.supported : known.name != variant) continue;
    if (!known.supported) return unsupported("this processor cannot run variant {}", variant);
    return std::unique_ptr<AttentionExecutor>(
        std::make_unique<CpuAttention>(geometry, std::move(threads), known.name));
  }
  return unsupported("no variant of attention on the CPU is called '{}'", variant);
}

}  // namespace onebeat::c_api
