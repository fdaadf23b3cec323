// SPDX-License-Identifier: Apache-2.0
// StepExecutor: what the step loop asks of a device. The loop decides what to compute and the
// executor computes it; another device is another executor and the same loop.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "engine/steps/step_batch.h"
#include "onebeat/engine.h"
#include "onebeat/status.h"

namespace onebeat {

/// The answer to a SampleOrder.
struct StepToken {
  std::int32_t id = 0;
  float log_prob = std::numeric_limits<float>::quiet_NaN();
  std::span<const TokenLogProb> top_log_probs;
  Status failure;  ///< This choice alone failed; `id` means nothing then.
};

/// For one thread. After the first steps nothing allocates.
class StepExecutor {
 public:
  StepExecutor() = default;
  StepExecutor(const StepExecutor&) = delete;
  StepExecutor& operator=(const StepExecutor&) = delete;
  virtual ~StepExecutor() = default;

  /// Starts a step after those in flight. The batch's lists are borrowed for the call; tokens,
  /// parameters, counts and masks behind them stay as they are until the step is collected; until
  /// then, too, rows that it names keep their pages and nobody else gets them.
  virtual void submit(const StepBatch& batch) = 0;
  /// Waits for the oldest step in flight. Its tokens, one for each SampleOrder, stay until the next
  /// submit() but one. Errors: the whole step failed; the cache holds what it held before, but for
  /// the step's own tokens.
  [[nodiscard]] virtual Result<std::span<const StepToken>> collect() = 0;

  [[nodiscard]] virtual EngineCounters counters() const = 0;
};

}  // namespace onebeat
