// SPDX-License-Identifier: Apache-2.0
// Length and query tokens of one request of a step, read in bounds whatever the inputs hold.
#pragma once

#include <cstdint>

#include "onebeat/step_cuda.h"
#include "step/step_math.h"

namespace onebeat::step {

[[nodiscard]] ONEBEAT_HD constexpr std::uint32_t fault_bit(StepFault fault) {
  return static_cast<std::uint32_t>(fault);
}

/// Where lengths come from and what bounds them.
struct RequestSource {
  IndexView lens;
  IndexView query_tokens;  ///< Null data: all have query_tokens_each.
  IndexView rows_of;       ///< Null data: row b.
  std::int64_t num_rows = 0;
  std::int64_t max_len = 0;
  std::int32_t query_tokens_each = 1;
  std::int32_t max_query_tokens = 1;
  std::int32_t len_delta = 0;
  bool lens_by_row = false;
  bool add_query_tokens = false;
};

/// len and query_tokens as the planners take them.
struct Request {
  std::uint32_t len = 0;
  std::uint32_t query_tokens = 0;
};

/// Row of request b in the page map, or row 0 and a fault.
ONEBEAT_HD inline std::int64_t row_of_request(const RequestSource& source, std::int32_t request,
                                              std::uint32_t& faults) {
  const std::int64_t row =
      source.rows_of.data == nullptr ? request : load_index(source.rows_of, request);
  if (row >= 0 && row < source.num_rows) return row;
  faults |= fault_bit(StepFault::kRow);
  return 0;
}

/// Request b with its numbers forced into their ranges; each force leaves a fault.
ONEBEAT_HD inline Request read_request(const RequestSource& source, std::int32_t request,
                                       std::uint32_t& faults) {
  std::int64_t tokens = source.query_tokens_each;
  if (source.query_tokens.data != nullptr) {
    tokens = load_index(source.query_tokens, request);
    if (tokens < 0 || tokens > source.max_query_tokens) {
      faults |= fault_bit(StepFault::kQueryTokens);
      tokens = tokens < 0 ? 0 : source.max_query_tokens;
    }
  }
  const std::int64_t index =
      source.lens_by_row ? row_of_request(source, request, faults) : std::int64_t{request};
  const std::int64_t stored = load_index(source.lens, index);
  // Far outside the limit the sum could wrap; what is left after this cannot.
  const bool sane = stored >= -source.max_len - 0x7fffffff && stored <= source.max_len + 0x7fffffff;
  std::int64_t len = sane ? stored : stored < 0 ? -1 : source.max_len + 1;
  if (sane) len += source.len_delta + (source.add_query_tokens ? tokens : 0);
  if (len < 0 || len > source.max_len || (len > 0 && len < tokens)) {
    faults |= fault_bit(StepFault::kLength);
    len = len < 0 ? 0 : len > source.max_len ? source.max_len : len;
    if (len > 0 && len < tokens) {
      // Where all have the same query tokens, nothing may depend on one request's.
      if (source.query_tokens.data != nullptr)
        tokens = len;
      else
        len = tokens <= source.max_len ? tokens : 0;
    }
  }
  return {static_cast<std::uint32_t>(len), static_cast<std::uint32_t>(tokens)};
}

}  // namespace onebeat::step
