// SPDX-License-Identifier: Apache-2.0
// What a geometry of Python holds besides the fields: the costs that belong to its device.
#pragma once

#include <string>

#include "onebeat/geometry.h"

namespace onebeat::python {

/// onebeat.AttentionGeometry.
struct Geometry {
  AttentionGeometry fields;
  CostModel cost;
};

/// "bfloat16", ...
[[nodiscard]] const char* dtype_name(KvType type);
/// Of "bfloat16", "torch.bfloat16", ... Throws InvalidArgumentError naming `argument`.
[[nodiscard]] KvType kv_type_of(const std::string& name, const char* argument);

}  // namespace onebeat::python
