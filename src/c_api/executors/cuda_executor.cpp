// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <utility>

#include "c_api/attention_structs.h"
#include "c_api/executors/executor.h"
#include "c_api/launch_trace.h"
#include "c_api/step_structs.h"
#include "device/cuda_status.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/step_cuda.h"

namespace onebeat::c_api {
namespace {

static_assert(ONEBEAT_OVERLAP_NONE == static_cast<int>(CudaOverlap::kNone));
static_assert(ONEBEAT_OVERLAP_LAUNCH == static_cast<int>(CudaOverlap::kLaunch));
static_assert(ONEBEAT_OVERLAP_EARLY_LOADS == static_cast<int>(CudaOverlap::kEarlyLoads));
static_assert(ONEBEAT_STEP_FAULT_LENGTH == static_cast<int>(StepFault::kLength));
static_assert(ONEBEAT_STEP_FAULT_ROOM == static_cast<int>(StepFault::kRoom));

/// Makes a device current for a scope, and afterwards the one that was.
class CurrentDevice {
 public:
  CurrentDevice() = default;
  ~CurrentDevice() {
    if (before_ >= 0) (void)cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

  Status enter(int device) {
    int current = 0;
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDevice(&current));
    if (current == device) return {};
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaSetDevice(device));
    before_ = current;
    return {};
  }

 private:
  int before_ = -1;
};

Status check_device(std::int32_t device) {
  int count = 0;
  const Status counted = cuda_status(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  ONEBEAT_RETURN_IF_ERROR(counted.with_context(fmt::format("device cuda:{}", device)));
  if (device >= 0 && device < count) return {};
  return unavailable("device cuda:{} does not exist; this machine has {}", device, count);
}

class CudaStepExecutor final : public StepExecutor {
 public:
  CudaStepExecutor(std::int32_t device, StepPlanner planner)
      : StepExecutor(std::move(planner)), device_(device) {}

  /// Once, after the planner has its place.
  Status set_up() {
    CurrentDevice current;
    ONEBEAT_RETURN_IF_ERROR(current.enter(device_));
    ONEBEAT_ASSIGN_OR_RETURN(CudaStepPreparer made, CudaStepPreparer::create(planner_));
    preparer_ = std::make_unique<CudaStepPreparer>(std::move(made));
    return {};
  }

  Status prepare(const onebeat_step& step, void* stream) override {
    ONEBEAT_ASSIGN_OR_RETURN(const StepArguments arguments, step_arguments_from(step));
    StepLaunch launch;
    launch.status = step.faults;
    launch.programmatic = step.programmatic != 0;
    launch.kernels = step.general != 0 ? StepKernels::kGeneral : StepKernels::kFastest;
    CurrentDevice current;
    ONEBEAT_RETURN_IF_ERROR(current.enter(device_));
    ONEBEAT_RETURN_IF_ERROR(
        preparer_->prepare(arguments, launch, static_cast<CUstream_st*>(stream)));
    if (step.trace == nullptr) return {};
    const bool narrow = step.general == 0 && preparer_->takes_narrow(arguments);
    add_to_trace(step.trace, {"prepare_step", narrow ? "narrow" : "general", -1, device_});
    return {};
  }

 private:
  std::int32_t device_;
  std::unique_ptr<CudaStepPreparer> preparer_;
};

class CudaAttention final : public AttentionExecutor {
 public:
  CudaAttention(std::int32_t device, CudaDecodeAttention decode)
      : device_(device), decode_(std::move(decode)) {}

  const char* variant() const override { return decode_.variant().name.data(); }

  Status decode(const onebeat_plan& plan, const onebeat_attention_launch& launch,
                const onebeat_scratch& scratch, void* stream) override {
    ONEBEAT_ASSIGN_OR_RETURN(const CudaAttentionLaunch checked, launch_from(launch));
    ONEBEAT_ASSIGN_OR_RETURN(const AttentionScratch room, scratch_from(scratch));
    CudaPlan planned;
    planned.data = static_cast<const std::byte*>(plan.data);
    planned.stamp = plan.stamp;
    planned.workers = plan.workers;
    planned.capacity = plan.capacity;
    planned.version = plan.version;
    CurrentDevice current;
    ONEBEAT_RETURN_IF_ERROR(current.enter(device_));
    ONEBEAT_RETURN_IF_ERROR(
        decode_.launch(planned, checked, room, static_cast<CUstream_st*>(stream)));
    add_to_trace(launch.trace, {"decode_attention", variant(), launch.layer, device_});
    return {};
  }

  Status prefill(const onebeat_prefill_batch&, const onebeat_attention_launch&, void*) override {
    return unsupported("prefill attention on CUDA devices is not part of this library (ABI {})",
                       ONEBEAT_ABI_VERSION);
  }

  Status merge(const onebeat_merge_launch&, void*) override {
    return unsupported("merging states on CUDA devices is not part of this library (ABI {})",
                       ONEBEAT_ABI_VERSION);
  }

  Status append(const onebeat_append_launch& launch, void* stream) override {
    CudaAppendLaunch checked;
    ONEBEAT_ASSIGN_OR_RETURN(checked.kv, kv_pool_from(launch.kv));
    ONEBEAT_RETURN_IF_ERROR(check_pool(checked.kv, decode_.geometry()));
    if (launch.k.type != ONEBEAT_TYPE_F16 && launch.k.type != ONEBEAT_TYPE_BF16) {
      return unsupported("k has element type {}; appending on a device takes types {} and {}",
                         launch.k.type, ONEBEAT_TYPE_F16, ONEBEAT_TYPE_BF16);
    }
    checked.input_type = static_cast<KvType>(launch.k.type);
    ONEBEAT_ASSIGN_OR_RETURN(checked.k,
                             rows_from<const std::uint16_t>("k", launch.k, launch.k.type));
    ONEBEAT_ASSIGN_OR_RETURN(checked.v,
                             rows_from<const std::uint16_t>("v", launch.v, launch.k.type));
    ONEBEAT_RETURN_IF_ERROR(check_array("slots", launch.slots, launch.num_tokens));
    checked.slots = {launch.slots, static_cast<std::size_t>(launch.num_tokens)};
    checked.faults = launch.faults;
    CurrentDevice current;
    ONEBEAT_RETURN_IF_ERROR(current.enter(device_));
    ONEBEAT_RETURN_IF_ERROR(append_kv(checked, static_cast<CUstream_st*>(stream)));
    if (launch.num_tokens == 0) return {};
    add_to_trace(launch.trace, {"append_kv", "append_kv", launch.layer, device_});
    return {};
  }

 private:
  Result<CudaAttentionLaunch> launch_from(const onebeat_attention_launch& launch) const {
    ONEBEAT_RETURN_IF_ERROR(check_choice("overlap", launch.overlap, 3));
    CudaAttentionLaunch checked;
    ONEBEAT_ASSIGN_OR_RETURN(checked.q, rows_from<const std::uint16_t>("q", launch.q, row_type()));
    ONEBEAT_ASSIGN_OR_RETURN(checked.out, rows_from<std::uint16_t>("out", launch.out, row_type()));
    checked.lse = lse_from(launch.lse);
    checked.score = score_from(launch);
    ONEBEAT_ASSIGN_OR_RETURN(checked.kv, kv_pool_from(launch.kv));
    checked.pages = page_map_from(launch.pages);
    checked.overlap = static_cast<CudaOverlap>(launch.overlap);
    checked.kv_is_shared = launch.kv_is_shared != 0;
    checked.inputs_version = launch.inputs_version;
    checked.faults = launch.faults;
    return checked;
  }

  onebeat_type row_type() const {
    return decode_.geometry().kv_type == KvType::kF16 ? ONEBEAT_TYPE_F16 : ONEBEAT_TYPE_BF16;
  }

  std::int32_t device_;
  CudaDecodeAttention decode_;
};

}  // namespace

StepExecutorResult make_cuda_step_executor(std::int32_t device, StepPlanner planner) {
  ONEBEAT_RETURN_IF_ERROR(check_device(device));
  auto executor = std::make_unique<CudaStepExecutor>(device, std::move(planner));
  ONEBEAT_RETURN_IF_ERROR(executor->set_up());
  return std::unique_ptr<StepExecutor>(std::move(executor));
}

AttentionExecutorResult make_cuda_attention(std::int32_t device, const AttentionGeometry& geometry,
                                            std::string_view variant) {
  ONEBEAT_RETURN_IF_ERROR(check_device(device));
  CurrentDevice current;
  ONEBEAT_RETURN_IF_ERROR(current.enter(device));
  ONEBEAT_ASSIGN_OR_RETURN(CudaDecodeAttention decode,
                           CudaDecodeAttention::create(geometry, variant));
  return std::unique_ptr<AttentionExecutor>(
      std::make_unique<CudaAttention>(device, std::move(decode)));
}

Result<CostModel> tune_for_cuda(std::int32_t device, AttentionGeometry& geometry) {
  ONEBEAT_RETURN_IF_ERROR(check_device(device));
  int multiprocessors = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  ONEBEAT_ASSIGN_OR_RETURN(
      const CudaAttentionTuning tuning,
      cuda_attention_tuning(geometry.head_dim, geometry.kv_type, multiprocessors));
  geometry.tile_tokens = tuning.tile_tokens;
  geometry.workers = tuning.workers;
  return geometry.invariant_chunk_tokens != 0 ? tuning.invariant_cost : tuning.cost;
}

const char* cuda_variant_name(std::int32_t index) {
  const auto variants = cuda_attention_variants();
  if (index < 0 || static_cast<std::size_t>(index) >= variants.size()) return nullptr;
  return variants[static_cast<std::size_t>(index)].name.data();
}

}  // namespace onebeat::c_api
