// SPDX-License-Identifier: Apache-2.0
// The border that no exception and no C++ type crosses: a body's Status becomes a code and a
// message.
#pragma once

#include <new>
#include <string_view>

#include "onebeat/onebeat.h"
#include "onebeat/status.h"

namespace onebeat::c_api {

/// Writes the outcome into `error`, if there is one of a sound size; returns its code.
onebeat_status write_error(StatusCode code, std::string_view message, onebeat_error* error);

/// Runs `body`, which returns a Status, and answers its outcome.
template <typename Body>
onebeat_status answer(onebeat_error* error, Body&& body) {
  try {
    const Status status = body();
    return write_error(status.code(), status.message(), error);
  } catch (const std::bad_alloc&) {
    return write_error(StatusCode::kResourceExhausted, "out of memory", error);
  } catch (...) {
    return write_error(StatusCode::kInternal, "an exception reached the C ABI", error);
  }
}

}  // namespace onebeat::c_api
