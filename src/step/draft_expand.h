// SPDX-License-Identifier: Apache-2.0
// What the two forms of prepare_draft_expand share: the checks that need no look at the numbers.
#pragma once

#include "onebeat/step.h"

namespace onebeat::step {

/// Shapes, room and missing memory of an expand pass.
[[nodiscard]] Status check_draft_shapes(const DraftExpandArguments& draft);

}  // namespace onebeat::step
