// SPDX-License-Identifier: Apache-2.0
// prepare_step on the host or on a device, as the tensors ask.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "geometry.h"
#include "onebeat/step.h"
#include "onebeat/step_cuda.h"

namespace onebeat::python {

class StepPreparer {
 public:
  /// `device`: kHost or a CUDA device. Throws what Python shows.
  StepPreparer(const std::vector<Geometry>& geometries, const StepLimits& limits, int device);
  /// Tables only.
  StepPreparer(std::int32_t page_tokens, const StepLimits& limits, int device);

  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] const StepPlanner& planner() const { return *planner_; }

  /// Runs or enqueues the step. A fault that an earlier step left on a device is thrown first.
  void prepare(const StepArguments& step, void* stream);

 private:
  void use(Result<StepPlanner> planner);

  int device_;
  std::unique_ptr<StepPlanner> planner_;
  std::optional<CudaStepPreparer> cuda_;
};

}  // namespace onebeat::python
