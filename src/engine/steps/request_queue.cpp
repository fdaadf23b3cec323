// SPDX-License-Identifier: Apache-2.0
#include "engine/steps/request_queue.h"

#include "base/error.h"

namespace onebeat {

Result<RequestId> RequestQueue::push(std::unique_ptr<ActiveRequest> request) {
  const std::lock_guard lock(mutex_);
  if (closed_) return unavailable("the engine has stopped; it takes no more requests");
  if (waiting_ >= capacity_) {
    return resource_exhausted("{} requests wait, as many as the queue takes; try again later",
                              waiting_);
  }
  // First, so that nothing fails halfway.
  if (inbox_.size() == inbox_.capacity()) inbox_.reserve(2 * inbox_.size() + 16);
  const RequestId id = ++last_id_;
  request->id = id;
  live_.emplace(id, request.get());
  inbox_.push_back(std::move(request));
  ++waiting_;
  came_some_.store(true, std::memory_order_release);
  woken_ = true;
  came_.notify_all();
  return id;
}

bool RequestQueue::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(id);
  if (found == live_.end()) return false;
  found->second->cancelled.store(true, std::memory_order_relaxed);
  cancellations_.store(true, std::memory_order_release);
  woken_ = true;
  came_.notify_all();
  return true;
}

void RequestQueue::cancel_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, request] : live_) request->cancelled.store(true, std::memory_order_relaxed);
  cancellations_.store(true, std::memory_order_release);
  woken_ = true;
  came_.notify_all();
}

void RequestQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

void RequestQueue::take(std::vector<std::unique_ptr<ActiveRequest>>& requests) {
  // Steps look here every time; the lock is for when there is something.
  if (!came_some_.exchange(false, std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  for (std::unique_ptr<ActiveRequest>& request : inbox_) requests.push_back(std::move(request));
  inbox_.clear();
}

void RequestQueue::leave() {
  const std::lock_guard lock(mutex_);
  --waiting_;
}

void RequestQueue::forget(RequestId id) {
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

void RequestQueue::wait() {
  std::unique_lock lock(mutex_);
  came_.wait(lock, [this] { return woken_; });
  woken_ = false;
}

void RequestQueue::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  came_.notify_all();
}

std::int32_t RequestQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

}  // namespace onebeat
