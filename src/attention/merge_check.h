// SPDX-License-Identifier: Apache-2.0
// What both twins of merge_states() refuse.
#pragma once

#include "onebeat/attention.h"

namespace onebeat {

[[nodiscard]] Status check_merge(const MergeStates& merge);

}  // namespace onebeat
