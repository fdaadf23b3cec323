// SPDX-License-Identifier: Apache-2.0
// What is behind the opaque handles. Each begins with a number that says what it is, so that a
// handle of another kind is refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/error.h"
#include "c_api/executors/executor.h"
#include "onebeat/onebeat.h"
#include "onebeat/plan.h"

namespace onebeat::c_api {

enum class HandleKind : std::uint32_t {
  kDestroyed = 0,
  kPlanner = 0x6f6e6201,
  kThreadPool,
  kAttention,
};

template <typename Handle>
Status check_handle(const Handle* handle, const char* name) {
  if (handle == nullptr) return invalid_argument("{} is null", name);
  HandleKind kind;
  std::memcpy(&kind, handle, sizeof kind);
  if (kind != Handle::kKind) return invalid_argument("{} is no such handle, or destroyed", name);
  return {};
}

/// Frees a handle of the right kind; leaves anything else alone.
template <typename Handle>
void destroy_handle(Handle* handle) {
  if (!check_handle(handle, "").ok()) return;
  handle->kind = HandleKind::kDestroyed;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // The mark is written, though all is freed.
  delete handle;
}

/// The planner of one class. Errors: kInvalidArgument (handle), kOutOfRange (no such class).
[[nodiscard]] Result<const Planner*> planner_of(const onebeat_planner* planner,
                                                std::int32_t class_index);

}  // namespace onebeat::c_api

struct onebeat_planner {
  static constexpr auto kKind = onebeat::c_api::HandleKind::kPlanner;
  onebeat::c_api::HandleKind kind = kKind;
  std::unique_ptr<onebeat::c_api::StepExecutor> executor;
};

struct onebeat_thread_pool {
  static constexpr auto kKind = onebeat::c_api::HandleKind::kThreadPool;
  onebeat::c_api::HandleKind kind = kKind;
  std::shared_ptr<onebeat::c_api::SharedThreads> threads;
};

struct onebeat_attention {
  static constexpr auto kKind = onebeat::c_api::HandleKind::kAttention;
  onebeat::c_api::HandleKind kind = kKind;
  std::unique_ptr<onebeat::c_api::AttentionExecutor> executor;
};
