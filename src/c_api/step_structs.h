// SPDX-License-Identifier: Apache-2.0
// Geometry, cost and step from the structs of the C ABI.
#pragma once

#include "onebeat/onebeat.h"
#include "onebeat/step.h"

namespace onebeat::c_api {

/// Not validated beyond what the types need.
[[nodiscard]] Result<AttentionGeometry> geometry_from(const onebeat_geometry* given);
[[nodiscard]] Result<CostModel> cost_from(const onebeat_cost_model* given);
[[nodiscard]] Result<StepArguments> step_arguments_from(const onebeat_step& step);

}  // namespace onebeat::c_api
