// SPDX-License-Identifier: Apache-2.0
// Planners: creation, sizes, preparing a step.
#include <array>

#include "c_api/answer.h"
#include "c_api/handles.h"
#include "c_api/launch_trace.h"
#include "c_api/step_structs.h"
#include "c_api/structs.h"

namespace onebeat::c_api {
namespace {

Result<StepPlanner> make_planner(const onebeat_geometry* const* geometries,
                                 const onebeat_cost_model* const* costs, std::int32_t num_classes,
                                 const onebeat_limits* limits) {
  ONEBEAT_ASSIGN_OR_RETURN(const onebeat_limits read, read_struct(limits, "limits"));
  if (num_classes < 0 || num_classes > ONEBEAT_MAX_CLASSES) {
    return out_of_range("the planner has {} classes; it takes 0 to {}", num_classes,
                        ONEBEAT_MAX_CLASSES);
  }
  ONEBEAT_RETURN_IF_ERROR(check_array("geometries", geometries, num_classes));
  std::array<StepClass, ONEBEAT_MAX_CLASSES> classes;
  for (std::int32_t c = 0; c < num_classes; ++c) {
    StepClass& made = classes[static_cast<std::size_t>(c)];
    ONEBEAT_ASSIGN_OR_RETURN(made.geometry, geometry_from(geometries[c]));
    if (costs != nullptr) {
      ONEBEAT_ASSIGN_OR_RETURN(made.cost, cost_from(costs[c]));
    }
  }
  const StepLimits sized{read.max_requests, read.max_context_tokens, read.max_query_tokens};
  return StepPlanner::create(std::span(classes).first(static_cast<std::size_t>(num_classes)),
                             read.page_tokens, sized);
}

StepExecutorResult make_executor(std::int32_t device, StepPlanner planner) {
  if (device == ONEBEAT_CPU) return make_cpu_step_executor(std::move(planner));
  return make_cuda_step_executor(device, std::move(planner));
}

}  // namespace

Result<const Planner*> planner_of(const onebeat_planner* planner, std::int32_t class_index) {
  ONEBEAT_RETURN_IF_ERROR(check_handle(planner, "planner"));
  const StepPlanner& steps = planner->executor->planner();
  if (class_index < 0 || class_index >= steps.num_classes()) {
    return out_of_range("class {} does not exist; this planner has {} classes", class_index,
                        steps.num_classes());
  }
  return &steps.planner(class_index);
}

}  // namespace onebeat::c_api

using namespace onebeat::c_api;  // NOLINT: this file is the border
using onebeat::Status;

onebeat_status onebeat_planner_create(int32_t device, const onebeat_geometry* const* geometries,
                                      const onebeat_cost_model* const* costs, int32_t num_classes,
                                      const onebeat_limits* limits, onebeat_planner** planner,
                                      onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("planner", planner));
    *planner = nullptr;
    ONEBEAT_ASSIGN_OR_RETURN(onebeat::StepPlanner made,
                             make_planner(geometries, costs, num_classes, limits));
    auto handle = std::make_unique<onebeat_planner>();
    ONEBEAT_ASSIGN_OR_RETURN(handle->executor, make_executor(device, std::move(made)));
    *planner = handle.release();
    return {};
  });
}

void onebeat_planner_destroy(onebeat_planner* planner) {
  destroy_handle(planner);
}

onebeat_status onebeat_planner_sizes(const onebeat_planner* planner, int32_t class_index,
                                     onebeat_sizes* sizes, onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_size(sizes, "sizes"));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::Planner* one, planner_of(planner, class_index));
    const onebeat::ScratchSize scratch = one->scratch_size();
    onebeat_sizes filled = {};
    filled.stamp = plan_stamp(one->geometry());
    filled.workers = one->geometry().workers;
    filled.capacity = one->limits().max_requests;
    filled.plan_bytes = static_cast<std::int64_t>(one->plan_bytes());
    filled.scratch_output_floats = scratch.output_floats;
    filled.scratch_stats_floats = scratch.stats_floats;
    filled.scratch_counters = scratch.counters;
    filled.segment_overhead = one->cost_model().segment_overhead;
    filled.min_tiles = one->cost_model().min_tiles;
    filled.min_worker_cost = one->cost_model().min_worker_cost;
    write_struct(filled, sizes);
    return {};
  });
}

onebeat_status onebeat_planner_plan(const onebeat_planner* planner, int32_t class_index,
                                    const void* data, uint64_t version, onebeat_plan* plan,
                                    onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_size(plan, "plan"));
    ONEBEAT_RETURN_IF_ERROR(check_pointer("the plan's data", data));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::Planner* one, planner_of(planner, class_index));
    onebeat_plan filled = {};
    filled.stamp = plan_stamp(one->geometry());
    filled.data = data;
    filled.bytes = static_cast<std::int64_t>(one->plan_bytes());
    filled.workers = one->geometry().workers;
    filled.capacity = one->limits().max_requests;
    filled.version = version;
    write_struct(filled, plan);
    return {};
  });
}

onebeat_status onebeat_prepare_step(onebeat_planner* planner, const onebeat_step* step,
                                    void* stream, onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_handle(planner, "planner"));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_step read, read_struct(step, "step"));
    ONEBEAT_RETURN_IF_ERROR(check_trace(read.trace));
    return planner->executor->prepare(read, stream);
  });
}
