// SPDX-License-Identifier: Apache-2.0
// ReplyQueue: carries events of replies from the thread that runs the steps, which never waits for
// the interpreter's lock, to whoever asks in Python.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "onebeat/request.h"

namespace onebeat::python {

/// A TokenEvent that owns what it says.
struct ReplyEvent {
  RequestId request = 0;
  std::int32_t completion = 0;
  std::int32_t token = kNoToken;
  std::string text;
  float log_prob = 0;
  std::vector<TokenLogProb> top_log_probs;
  bool finished = false;
  FinishReason reason = FinishReason::kLength;
  Status failure;  ///< With kFailed.
  std::int32_t cached_tokens = 0;
  std::int32_t computed_tokens = 0;
};

class ReplyQueue {
 public:
  ReplyQueue() = default;
  ~ReplyQueue();
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  void push(const TokenEvent& event);
  /// Whether there are events, after at most this time.
  [[nodiscard]] bool wait(std::chrono::milliseconds time);
  /// The events so far, in their order.
  [[nodiscard]] std::vector<ReplyEvent> take();
  /// A descriptor that is readable while there are events, for event loops; the queue owns it.
  /// Errors: kResourceExhausted.
  [[nodiscard]] Result<int> descriptor();

 private:
  void signal();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<ReplyEvent> events_;
  int descriptor_ = -1;
};

}  // namespace onebeat::python
