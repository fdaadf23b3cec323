// SPDX-License-Identifier: Apache-2.0
#include "engine/request_check.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "ops/sample.h"

namespace onebeat {
namespace {

Status check_ids(std::string_view what, const std::vector<std::int32_t>& ids,
                 std::int32_t vocabulary) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return out_of_range("token {} of the {} has id {}; the model's ids are from 0 to {}", i, what,
                          ids[i], vocabulary - 1);
    }
  }
  return Status();
}

}  // namespace

Status check_request(const Request& request, const RequestLimits& limits) {
  ONEBEAT_RETURN_IF_ERROR(validate(request.sampling, limits.vocabulary));
  if (request.prompt.empty())
    return invalid_argument("the prompt is empty; it needs at least one token");
  if (request.max_tokens < 0)
    return out_of_range("max_tokens is {}; it must be at least 0", request.max_tokens);
  if (request.completions < 1 || request.completions > limits.max_requests) {
    return out_of_range("{} completions are wanted; this engine computes from 1 to {} at once",
                        request.completions, limits.max_requests);
  }
  if (static_cast<std::int64_t>(request.prompt.size()) > limits.context_tokens) {
    return out_of_range("the prompt has {} tokens; the context has room for {}",
                        request.prompt.size(), limits.context_tokens);
  }
  if (request.wants_text && limits.tokenizer == nullptr)
    return invalid_argument("text is wanted; this engine was given no tokenizer");
  if (!request.wants_text && !request.stop_strings.empty())
    return invalid_argument("stop strings end texts; this request wants no text");
  ONEBEAT_RETURN_IF_ERROR(StopStrings::make(request.stop_strings).status());
  ONEBEAT_RETURN_IF_ERROR(check_ids("prompt", request.prompt, limits.vocabulary));
  return check_ids("stop tokens", request.stop_tokens, limits.vocabulary);
}

std::unique_ptr<ActiveRequest> make_active(Request request, const RequestLimits& limits) {
  auto active = std::make_unique<ActiveRequest>();
  const auto prompt_tokens = static_cast<std::int32_t>(request.prompt.size());
  // The last token of a reply is never computed: it may stand behind the context's end.
  const std::int64_t room = limits.context_tokens - prompt_tokens + 1;
  active->sequences.resize(static_cast<std::size_t>(request.completions));
  for (std::size_t n = 0; n < active->sequences.size(); ++n) {
    Sequence& sequence = active->sequences[n];
    sequence.request = active.get();
    sequence.completion = static_cast<std::int32_t>(n);
    sequence.prompt_tokens = prompt_tokens;
    sequence.max_reply_tokens =
        static_cast<std::int32_t>(std::min<std::int64_t>(request.max_tokens, room));
    sequence.sampling = request.sampling;
    sequence.sampling.seed = completion_seed(request.sampling.seed, n);
    sequence.counted = has_penalties(request.sampling);
    if (request.wants_text) {
      sequence.text = std::make_unique<TextStream>(
          limits.tokenizer, StopStrings::make(request.stop_strings).value(),
          request.text_shows_special, request.text_continues);
    }
    if (request.mask) sequence.allowed.resize(token_mask_words(limits.vocabulary));
  }
  active->sequences[0].tokens = std::move(request.prompt);
  active->unborn = request.completions - 1;
  active->unfinished = request.completions;
  active->request = std::move(request);
  return active;
}

}  // namespace onebeat
