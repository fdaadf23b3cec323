// SPDX-License-Identifier: Apache-2.0
#include "reply_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace onebeat::python {

ReplyQueue::~ReplyQueue() {
  if (descriptor_ >= 0) close(descriptor_);
}

void ReplyQueue::push(const TokenEvent& event) {
  ReplyEvent kept;
  kept.request = event.request;
  kept.completion = event.completion;
  kept.token = event.token;
  kept.text = event.text;
  kept.log_prob = event.log_prob;
  kept.top_log_probs.assign(event.top_log_probs.begin(), event.top_log_probs.end());
  kept.finished = event.finished;
  kept.reason = event.reason;
  if (event.failure != nullptr) kept.failure = *event.failure;
  kept.cached_tokens = event.cached_tokens;
  kept.computed_tokens = event.computed_tokens;
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(kept));
  if (events_.size() == 1) signal();
  arrived_.notify_one();
}

bool ReplyQueue::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return arrived_.wait_for(lock, time, [this] { return !events_.empty(); });
}

std::vector<ReplyEvent> ReplyQueue::take() {
  const std::lock_guard lock(mutex_);
  if (descriptor_ >= 0 && !events_.empty()) {
    std::uint64_t count = 0;
    // Nothing to do if it fails: it was not readable then.
    [[maybe_unused]] const auto size = read(descriptor_, &count, sizeof count);
  }
  return std::exchange(events_, {});
}

Result<int> ReplyQueue::descriptor() {
  const std::lock_guard lock(mutex_);
  if (descriptor_ < 0) {
    descriptor_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor_ < 0) {
      return resource_exhausted("the system gives no event descriptor: {}", std::strerror(errno));
    }
    if (!events_.empty()) signal();
  }
  return descriptor_;
}

void ReplyQueue::signal() {
  if (descriptor_ < 0) return;
  const std::uint64_t one = 1;
  // Cannot fail below 2^64 - 1 signals.
  [[maybe_unused]] const auto size = write(descriptor_, &one, sizeof one);
}

}  // namespace onebeat::python
