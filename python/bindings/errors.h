// SPDX-License-Identifier: Apache-2.0
// Failures as Python exceptions of onebeat.errors.
#pragma once

#include <string>
#include <utility>

#include "onebeat/status.h"

namespace onebeat::python {

/// Throws the exception of onebeat.errors that stands for the code of `status`, a failure.
[[noreturn]] void raise_failure(const Status& status);

/// Throws the exception of onebeat.errors of this name.
[[noreturn]] void raise_error(const char* type, const std::string& message);

inline void raise_if_error(const Status& status) {
  if (!status.ok()) raise_failure(status);
}

template <typename T>
[[nodiscard]] T value_or_raise(Result<T> result) {
  if (!result.ok()) raise_failure(result.status());
  return std::move(result).value();
}

}  // namespace onebeat::python
