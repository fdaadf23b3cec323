// SPDX-License-Identifier: Apache-2.0
// Plans in host memory: proved and shown.
#include <cstring>
#include <string>

#include "c_api/answer.h"
#include "c_api/handles.h"
#include "c_api/structs.h"

namespace onebeat::c_api {
namespace {

Result<PlanView> view_of(const Planner& planner, const onebeat_plan* given) {
  ONEBEAT_ASSIGN_OR_RETURN(const onebeat_plan plan, read_struct(given, "plan"));
  ONEBEAT_RETURN_IF_ERROR(check_array("the plan's data", plan.data, plan.bytes));
  return PlanView::open(
      {static_cast<const std::byte*>(plan.data), static_cast<std::size_t>(plan.bytes)},
      planner.geometry());
}

std::string shown(const PlanView& plan, const CostModel& cost, onebeat_plan_format format) {
  if (format == ONEBEAT_PLAN_JSON) return to_json(plan, cost);
  if (format == ONEBEAT_PLAN_SVG) return to_svg(plan, cost);
  return to_string(plan, cost);
}

}  // namespace
}  // namespace onebeat::c_api

using namespace onebeat::c_api;  // NOLINT: this file is the border
using onebeat::Status;

onebeat_status onebeat_check_plan(const onebeat_planner* planner, int32_t class_index,
                                  const onebeat_plan* plan, const int32_t* lens,
                                  const int32_t* query_tokens, int32_t num_requests,
                                  onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::Planner* one, planner_of(planner, class_index));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::PlanView view, view_of(*one, plan));
    ONEBEAT_RETURN_IF_ERROR(check_array("lens", lens, num_requests));
    const auto count = static_cast<std::size_t>(num_requests);
    onebeat::PlanBatch batch{{lens, count}};
    if (query_tokens != nullptr) batch.query_tokens = {query_tokens, count};
    return check_plan(view, batch, one->cost_model());
  });
}

onebeat_status onebeat_show_plan(const onebeat_planner* planner, int32_t class_index,
                                 const onebeat_plan* plan, onebeat_plan_format format, char* buffer,
                                 size_t* length, onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("length", length));
    ONEBEAT_RETURN_IF_ERROR(check_choice("format", format, 3));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::Planner* one, planner_of(planner, class_index));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::PlanView view, view_of(*one, plan));
    const std::string text = shown(view, one->cost_model(), format);
    const std::size_t room = *length;
    *length = text.size() + 1;
    if (buffer == nullptr) return {};
    if (room < text.size() + 1) {
      return onebeat::out_of_range("the plan as text needs {} bytes; the buffer has {}",
                                   text.size() + 1, room);
    }
    std::memcpy(buffer, text.c_str(), text.size() + 1);
    return {};
  });
}
