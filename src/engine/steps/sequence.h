// SPDX-License-Identifier: Apache-2.0
// Sequence: one completion of a request, as scheduler and step loop see it; ActiveRequest: a
// request with all of its sequences, from submit to the last step that names it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/steps/text_stream.h"
#include "kv/prefix_index.h"
#include "onebeat/request.h"
#include "ops/token_counts.h"

namespace onebeat {

struct ActiveRequest;

enum class SequenceState : std::uint8_t {
  kUnborn,    ///< Waits for the first completion to compute the prompt that they share.
  kWaiting,   ///< In the queue, without pages.
  kRunning,   ///< Has a row and pages.
  kFinished,  ///< Its last event is out; its row may still be named by a step in flight.
};

/// Lengths count tokens. Steps compute tokens in order: [0, scheduled) are in the cache when all
/// steps in flight have completed.
struct Sequence {
  ActiveRequest* request = nullptr;
  std::int32_t completion = 0;
  SequenceState state = SequenceState::kUnborn;
  std::vector<std::int32_t> tokens;  ///< Prompt, then reply; room for all once it is begun.
  std::int32_t prompt_tokens = 0;
  std::int32_t max_reply_tokens = 0;  ///< max_tokens, or what the context has room for.

  std::int32_t scheduled = 0;
  std::int32_t pending = 0;  ///< Tokens that the steps in flight will append.
  std::int32_t row = -1;
  std::int32_t first_changed_page = 0;  ///< Columns from here on are not known to the executor.
  PrefixChain chain;                    ///< Of the pages published so far.
  std::int32_t published_pages = 0;
  std::uint64_t begun_step = 0;  ///< The first step since it has the row.
  std::uint64_t last_step = 0;   ///< The last step that names the row.
  bool leaving = false;          ///< Gives its row up when last_step has completed.

  std::int32_t cached_tokens = 0;    ///< Tokens of the prompt found in the cache.
  std::int32_t computed_tokens = 0;  ///< Tokens of the prompt computed, the first time.

  SamplingParams sampling;  ///< The request's, with this completion's seed.
  TokenCounts counts;       ///< Kept if the parameters have penalties.
  bool counted = false;
  std::unique_ptr<TextStream> text;    ///< If the request wants text.
  std::vector<std::uint32_t> allowed;  ///< The token mask's words, if the request has one.

  [[nodiscard]] std::int32_t length() const { return static_cast<std::int32_t>(tokens.size()); }
  /// One that is not born has no tokens.
  [[nodiscard]] std::int32_t reply_tokens() const { return std::max(0, length() - prompt_tokens); }
  /// Tokens known or on their way that no step computes yet.
  [[nodiscard]] std::int32_t remaining() const { return length() + pending - scheduled; }
};

struct ActiveRequest {
  RequestId id = 0;
  Request request;
  std::vector<Sequence> sequences;  ///< One for each completion; their addresses never change.
  std::int32_t unborn = 0;          ///< Completions that wait for the first one's prompt.
  std::int32_t unfinished = 0;      ///< Completions whose last event is not out.
  std::atomic<bool> cancelled = false;
  bool queued = true;     ///< Counts against the queue's bound: no step has named it yet.
  std::size_t place = 0;  ///< In the step loop's list.
};

/// Whether `a` is begun before and interrupted after `b`.
[[nodiscard]] inline bool comes_before(const Sequence& a, const Sequence& b) {
  const ActiveRequest& x = *a.request;
  const ActiveRequest& y = *b.request;
  if (x.request.priority != y.request.priority) return x.request.priority > y.request.priority;
  if (x.id != y.id) return x.id < y.id;  // numbered as they arrive
  return a.completion < b.completion;
}

}  // namespace onebeat
