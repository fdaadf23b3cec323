// SPDX-License-Identifier: Apache-2.0
// What a build without CUDA answers.
#include "base/error.h"
#include "c_api/executors/executor.h"

namespace onebeat::c_api {
namespace {

Status without_cuda(std::int32_t device) {
  return unsupported(
      "device cuda:{} is asked for, but this library was built without CUDA (ONEBEAT_CUDA=OFF)",
      device);
}

}  // namespace

StepExecutorResult make_cuda_step_executor(std::int32_t device, StepPlanner) {
  return without_cuda(device);
}

AttentionExecutorResult make_cuda_attention(std::int32_t device, const AttentionGeometry&,
                                            std::string_view) {
  return without_cuda(device);
}

Result<CostModel> tune_for_cuda(std::int32_t device, AttentionGeometry&) {
  return without_cuda(device);
}

const char* cuda_variant_name(std::int32_t) {
  return nullptr;
}

}  // namespace onebeat::c_api
