// SPDX-License-Identifier: Apache-2.0
// `onebeat bench prepare --device cuda:N`.
#pragma once

#include <string>

#include "onebeat/status.h"

namespace onebeat::cli {

/// Measures prepare_step on a CUDA device and prints a table, or JSON.
[[nodiscard]] Status run_prepare_on_cuda(int device, bool json);

}  // namespace onebeat::cli
