// SPDX-License-Identifier: Apache-2.0
// The caller's ring of launches.
#pragma once

#include "c_api/structs.h"

namespace onebeat::c_api {

/// Before a launch: whether the ring, if there is one, can take a record.
inline Status check_trace(const onebeat_trace* trace) {
  if (trace == nullptr) return {};
  ONEBEAT_RETURN_IF_ERROR(check_size(trace, "trace"));
  return check_array("the trace's records", trace->records, trace->capacity);
}

/// After it. Names in static storage.
inline void add_to_trace(onebeat_trace* trace, const onebeat_launch_record& record) {
  if (trace == nullptr) return;
  if (trace->capacity > 0) trace->records[trace->count % trace->capacity] = record;
  ++trace->count;
}

}  // namespace onebeat::c_api
