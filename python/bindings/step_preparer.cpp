// SPDX-License-Identifier: Apache-2.0
#include "step_preparer.h"

#include "arrays/tensor.h"
#include "errors.h"

#ifdef ONEBEAT_WITH_CUDA
#include "attention/workspace.h"
#include "current_device.h"
#endif

namespace onebeat::python {

StepPreparer::StepPreparer(const std::vector<Geometry>& geometries, const StepLimits& limits,
                           int device)
    : device_(device) {
  if (geometries.empty())
    raise_error("InvalidArgumentError", "geometries is empty; a planner needs at least one");
  std::vector<StepClass> classes;
  for (const Geometry& geometry : geometries) classes.push_back({geometry.fields, geometry.cost});
  use(StepPlanner::create(classes, geometries.front().fields.page_tokens, limits));
}

StepPreparer::StepPreparer(std::int32_t page_tokens, const StepLimits& limits, int device)
    : device_(device) {
  use(StepPlanner::create({}, page_tokens, limits));
}

void StepPreparer::use(Result<StepPlanner> planner) {
  planner_ = std::make_unique<StepPlanner>(value_or_raise(std::move(planner)));
#ifdef ONEBEAT_WITH_CUDA
  if (device_ == kHost) return;
  const CurrentDevice current(device_);
  cuda_ = value_or_raise(CudaStepPreparer::create(*planner_));
#endif
}

void StepPreparer::prepare(const StepArguments& step, void* stream) {
  static_cast<void>(stream);
#ifdef ONEBEAT_WITH_CUDA
  if (device_ != kHost) {
    Workspace::raise_faults(device_);
    const CurrentDevice current(device_);
    const StepLaunch launch{.status = Workspace::of(device_, stream).status()};
    raise_if_error(cuda_->prepare(step, launch, static_cast<CUstream_st*>(stream)));
    return;
  }
#endif
  raise_if_error(planner_->prepare(step));
}

}  // namespace onebeat::python
