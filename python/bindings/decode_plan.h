// SPDX-License-Identifier: Apache-2.0
// onebeat.DecodePlan: the bytes of one plan and the planner that made them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onebeat/plan.h"
#include "plan_memory.h"

namespace onebeat::python {

class DecodePlan {
 public:
  DecodePlan(const Planner& planner, int device)
      : planner_(planner), memory_(planner.plan_bytes(), device) {}

  [[nodiscard]] const Planner& planner() const { return planner_; }
  [[nodiscard]] const PlanMemory& memory() const { return memory_; }
  [[nodiscard]] int device() const { return memory_.device(); }

  /// Rows that the last preparation was given, and the stream that it ran on.
  std::int32_t num_requests = 0;
  void* stream = nullptr;

 private:
  Planner planner_;
  PlanMemory memory_;
};

/// A view of a plan's bytes on the host; waits for the device if they are on one.
class HostPlan {
 public:
  explicit HostPlan(const DecodePlan& plan);
  [[nodiscard]] const PlanView& view() const { return view_; }
  /// KV and query tokens of each request, as the plan holds them.
  [[nodiscard]] std::vector<std::int32_t> lens() const;
  [[nodiscard]] std::vector<std::int32_t> query_tokens() const;

 private:
  std::vector<std::max_align_t> copy_;
  PlanView view_;
};

}  // namespace onebeat::python
