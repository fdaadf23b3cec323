// SPDX-License-Identifier: Apache-2.0
// Makers of failures with formatted messages: return invalid_argument("page is {}; it must be a
// power of two", p);
#pragma once

#include <fmt/format.h>

#include <utility>

#include "onebeat/status.h"

namespace onebeat {

template <typename... Args>
[[nodiscard]] Status make_error(StatusCode code, fmt::format_string<Args...> format,
                                Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...)};
}

#define ONEBEAT_DEFINE_ERROR(name, code)                                          \
  template <typename... Args>                                                     \
  [[nodiscard]] Status name(fmt::format_string<Args...> format, Args&&... args) { \
    return {StatusCode::code, fmt::format(format, std::forward<Args>(args)...)};  \
  }
ONEBEAT_DEFINE_ERROR(invalid_argument, kInvalidArgument)
ONEBEAT_DEFINE_ERROR(out_of_range, kOutOfRange)
ONEBEAT_DEFINE_ERROR(not_found, kNotFound)
ONEBEAT_DEFINE_ERROR(unsupported, kUnsupported)
ONEBEAT_DEFINE_ERROR(resource_exhausted, kResourceExhausted)
ONEBEAT_DEFINE_ERROR(plan_mismatch, kPlanMismatch)
ONEBEAT_DEFINE_ERROR(data_loss, kDataLoss)
ONEBEAT_DEFINE_ERROR(unavailable, kUnavailable)
ONEBEAT_DEFINE_ERROR(internal_error, kInternal)
#undef ONEBEAT_DEFINE_ERROR

}  // namespace onebeat
