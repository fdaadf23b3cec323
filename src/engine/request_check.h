// SPDX-License-Identifier: Apache-2.0
// What a request must be before it may come near the others.
#pragma once

#include <memory>

#include "engine/steps/sequence.h"
#include "onebeat/request.h"

namespace onebeat {

struct RequestLimits {
  std::int32_t vocabulary = 0;
  std::int64_t context_tokens = 0;
  std::int32_t max_requests = 1;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< Null: no text.
};

/// Errors: kInvalidArgument or kOutOfRange with the value, its place and the limit.
[[nodiscard]] Status check_request(const Request& request, const RequestLimits& limits);

/// The request as the step loop wants it. Requires: check_request().ok().
[[nodiscard]] std::unique_ptr<ActiveRequest> make_active(Request request,
                                                         const RequestLimits& limits);

}  // namespace onebeat
