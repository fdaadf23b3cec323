// SPDX-License-Identifier: Apache-2.0
// `onebeat bench prepare --device cuda:N`.
#pragma once

#include <string>

#include "onebeat/status.h"

namespace onebeat::cli {

/// Measures prepare_step on a CUDA device and prints a table, or JSON.
[[nodiscard]] Status run_prepare_on_cuda(int device, bool json);

/// Measures one case alone, 1,000 calls of it: 32 requests, pages of one token, context 8,192,
/// dense, no plans, beside stored figures of two other forms.
[[nodiscard]] Status run_isolated_prepare_on_cuda(int device, bool json);

}  // namespace onebeat::cli
