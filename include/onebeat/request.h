// SPDX-License-Identifier: Apache-2.0
// Request: what an engine is asked for, and the events that it answers with.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/sampling.h"
#include "onebeat/status.h"

namespace onebeat {

/// Names a submitted request; an engine never uses one twice.
using RequestId = std::uint64_t;

/// Why a reply ended.
enum class FinishReason : std::uint8_t {
  kLength,     ///< max_tokens, or the context is full.
  kStop,       ///< A stop token, a stop string, or the receiver of events said so.
  kCancelled,  ///< Somebody asked for it, or the engine shut down.
  kFailed,     ///< Something went wrong; the event has a Status.
};

/// "length", "stop", "cancelled" or "failed"; static storage.
[[nodiscard]] std::string_view to_string(FinishReason reason);

/// In place of an id where there is none.
inline constexpr std::int32_t kNoToken = -1;

/// A token of a reply, or its end, or both. Borrowed for the call that delivers it.
struct TokenEvent {
  RequestId request = 0;
  std::int32_t completion = 0;    ///< Which of the request's completions, from 0.
  std::int32_t token = kNoToken;  ///< kNoToken: an end without one more token.
  /// With Request::wants_text: the characters that are certain now; whole ones, and none of a stop
  /// string.
  std::string_view text;
  /// As SamplingParams::log_probs asks; NaN and empty if it does not.
  float log_prob = std::numeric_limits<float>::quiet_NaN();
  std::span<const TokenLogProb> top_log_probs;

  /// The last event of this completion. What follows has meaning with it alone.
  bool finished = false;
  FinishReason reason = FinishReason::kLength;
  const Status* failure = nullptr;   ///< With kFailed, and only then.
  std::int32_t reply_tokens = 0;     ///< Tokens delivered.
  std::int32_t cached_tokens = 0;    ///< Tokens of the prompt whose KV an earlier request had left.
  std::int32_t computed_tokens = 0;  ///< Tokens of the prompt that were computed.
};

/// Decides on the host which ids may come next: sets bit i % 32 of word i / 32 of `allowed` for
/// each id i that may. All bits are set before the call. `reply`: the tokens of the completion so
/// far.
using TokenMask = std::function<void(std::int32_t completion, std::span<const std::int32_t> reply,
                                     std::span<std::uint32_t> allowed)>;

/// Owned by the engine once submitted.
struct Request {
  std::vector<std::int32_t> prompt;  ///< At least one id.
  std::int32_t max_tokens = 64;      ///< Most tokens of each completion, 0 or more.
  /// Replies to the same prompt, which is computed once: 1 up to the engine's max_requests.
  /// Completion n draws with completion_seed(sampling.seed, n).
  std::int32_t completions = 1;
  /// Any of these ends a completion and is not part of it.
  std::vector<std::int32_t> stop_tokens;
  /// Events carry text; the engine must have a tokenizer (Engine::set_tokenizer()).
  bool wants_text = false;
  /// A completion ends where its text comes to hold one of these, which is no part of the text; its
  /// tokens are delivered. Needs wants_text.
  std::vector<std::string> stop_strings;
  /// Texts go on from the prompt's: a space at their beginning belongs to them, which tokenizers
  /// that put a space before every text would take away.
  bool text_continues = false;
  /// Texts hold those of control tokens too.
  bool text_shows_special = false;
  SamplingParams sampling;
  /// Requests of higher priority are begun first and interrupted last; of equals, the first come.
  std::int32_t priority = 0;
  /// Prefixes are reused only between requests of the same salt.
  std::uint64_t cache_salt = 0;
  /// Empty: every id may come.
  TokenMask mask;
  /// Called for each token and each end, one call at a time, on the thread that runs the steps;
  /// must not call step() or generate(), may call submit() and cancel(). Returning false ends the
  /// completion with what there is (kStop), in one more event. Empty: nobody listens.
  std::function<bool(const TokenEvent&)> on_event;
};

}  // namespace onebeat
