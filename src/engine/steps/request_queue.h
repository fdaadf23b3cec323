// SPDX-License-Identifier: Apache-2.0
// RequestQueue: where threads leave requests and cancellations for the thread that runs the steps.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/steps/sequence.h"
#include "onebeat/status.h"

namespace onebeat {

/// Thread-safe.
class RequestQueue {
 public:
  explicit RequestQueue(std::int32_t capacity) : capacity_(capacity) {}

  /// Takes a request in and gives it its id. Errors: kResourceExhausted when `capacity` requests
  /// wait already; kUnavailable after close().
  [[nodiscard]] Result<RequestId> push(std::unique_ptr<ActiveRequest> request);
  /// Marks a request. False: it has ended, or never was.
  bool cancel(RequestId id);
  /// Marks all.
  void cancel_all();
  /// From here on nothing is taken in.
  void close();

  // For the thread that runs the steps:

  /// Appends the requests that came since the last call, in the order of their coming.
  void take(std::vector<std::unique_ptr<ActiveRequest>>& requests);
  /// Whether something was marked since the last call.
  [[nodiscard]] bool take_cancellations() {
    return cancellations_.exchange(false, std::memory_order_acquire);
  }
  /// A request has been begun or has ended: it no longer waits.
  void leave();
  /// A request is about to be destroyed.
  void forget(RequestId id);
  /// Waits until something came, was marked, or wake() was called.
  void wait();
  void wake();

  [[nodiscard]] std::int32_t waiting() const;

 private:
  const std::int32_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable came_;
  bool woken_ = false;
  bool closed_ = false;
  std::int32_t waiting_ = 0;
  RequestId last_id_ = 0;
  std::vector<std::unique_ptr<ActiveRequest>> inbox_;
  std::unordered_map<RequestId, ActiveRequest*> live_;
  std::atomic<bool> cancellations_ = false;
  std::atomic<bool> came_some_ = false;
};

}  // namespace onebeat
