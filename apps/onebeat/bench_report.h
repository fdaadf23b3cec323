// SPDX-License-Identifier: Apache-2.0
// What every benchmark's report says about where and when it was measured.
#pragma once

#include <string>

namespace onebeat::cli {

/// Today in UTC, such as 2026-01-31.
[[nodiscard]] std::string today();

/// The processor's name as the system gives it, or "unknown".
[[nodiscard]] std::string cpu_name();

}  // namespace onebeat::cli
