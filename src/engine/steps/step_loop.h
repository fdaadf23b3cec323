// SPDX-License-Identifier: Apache-2.0
// StepLoop: takes requests in, schedules, lets the executor compute, and tells the requests what
// came out. With two steps in flight it schedules the next one before it knows what the one before
// chose: that choice reaches the next step inside the executor, and a sequence that turns out to
// have ended has one row computed for nothing.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/steps/request_queue.h"
#include "engine/steps/scheduler.h"
#include "engine/steps/step_executor.h"

namespace onebeat {

/// Totals since the loop was made.
struct LoopCounters {
  std::int64_t steps = 0;
  std::int64_t generated_tokens = 0;
  std::int64_t computed_prompt_tokens = 0;
  std::int64_t cached_prompt_tokens = 0;
  std::int64_t finished_requests = 0;
};

/// For one thread at a time.
class StepLoop {
 public:
  static constexpr int kMaxInFlight = 2;

  /// `queue` and `cache` must outlive it; `in_flight`: 1 or 2.
  StepLoop(const SchedulerLimits& limits, PageCache& cache, std::unique_ptr<StepExecutor> executor,
           RequestQueue& queue, int in_flight);

  /// Takes in what came, starts a step, and finishes the oldest one in flight if there are as many
  /// as may be. Returns whether there is more to do.
  bool step();

  [[nodiscard]] const Scheduler& scheduler() const { return scheduler_; }
  [[nodiscard]] const StepExecutor& executor() const { return *executor_; }
  [[nodiscard]] const LoopCounters& counters() const { return counters_; }

 private:
  void take_requests();
  void obey_cancellations();
  [[nodiscard]] bool submit();
  void collect();
  void ask_masks(const ScheduledStep& step);
  void accept(Sequence& sequence, const StepToken& token);
  void finish(Sequence& sequence, FinishReason reason, const Status* failure = nullptr);
  void end_event(Sequence& sequence, TokenEvent& event, FinishReason reason);
  void leave_queue(ActiveRequest& request);
  void sweep();
  void drop(ActiveRequest& request);

  Scheduler scheduler_;
  std::unique_ptr<StepExecutor> executor_;
  RequestQueue& queue_;
  std::size_t max_in_flight_;
  std::vector<std::unique_ptr<ActiveRequest>> requests_;
  std::vector<ActiveRequest*> ended_;  // of requests_; their rows may be named by steps in flight
  std::array<ScheduledStep, kMaxInFlight> steps_;  // a ring
  std::size_t submitted_ = 0, collected_ = 0;
  LoopCounters counters_;
};

}  // namespace onebeat
