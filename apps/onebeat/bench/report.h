// SPDX-License-Identifier: Apache-2.0
// What every benchmark's report says about where and when it was measured.
#pragma once

#include <string>

namespace onebeat::cli {

/// Today in UTC, such as 2026-01-31.
[[nodiscard]] std::string today();

/// The processor's name as the system gives it, or "unknown".
[[nodiscard]] std::string cpu_name();

/// Checks the value of --device: "" for cpu and cuda:N, else what it takes.
[[nodiscard]] std::string check_bench_device(const std::string& text);

/// N of cuda:N.
[[nodiscard]] int cuda_device_number(const std::string& checked_device);

}  // namespace onebeat::cli
