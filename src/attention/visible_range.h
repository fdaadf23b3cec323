// SPDX-License-Identifier: Apache-2.0
// Which KV tokens a query token sees: causality, window and chunks in one place, for every twin and
// every oracle of them but the naive one.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "onebeat/geometry.h"

namespace onebeat {

/// KV tokens [begin, end).
struct VisibleRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// What the query at `position` of a request of `len` tokens sees.
ONEBEAT_HD constexpr VisibleRange visible_range(const AttentionGeometry& geometry,
                                                std::int64_t position, std::int64_t len) {
  VisibleRange range{0, geometry.causal ? position + 1 : len};
  if (geometry.window_left >= 0 && position - geometry.window_left > range.begin) {
    range.begin = position - geometry.window_left;
  }
  if (geometry.chunk_tokens > 0) {
    const std::int64_t chunk = position / geometry.chunk_tokens * geometry.chunk_tokens;
    if (chunk > range.begin) range.begin = chunk;
    if (chunk + geometry.chunk_tokens < range.end) range.end = chunk + geometry.chunk_tokens;
  }
  return range;
}

}  // namespace onebeat
