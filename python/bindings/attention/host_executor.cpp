// SPDX-License-Identifier: Apache-2.0
#include "attention/host_executor.h"

#include <algorithm>

#include "errors.h"

namespace onebeat::python {

HostExecutor& HostExecutor::instance() {
  static HostExecutor executor;
  return executor;
}

void HostExecutor::use_threads(int threads) {
  auto pool = value_or_raise(ThreadPool::create(threads));
  const std::lock_guard lock(mutex_);
  pool_ = std::move(pool);
}

int HostExecutor::threads() {
  const std::lock_guard lock(mutex_);
  ensure_pool();
  return pool_->threads();
}

void HostExecutor::ensure_pool() {
  if (pool_ == nullptr)
    pool_ = value_or_raise(ThreadPool::create(ThreadPool::available_processors()));
}

AttentionScratch HostExecutor::scratch(const ScratchSize& size) {
  AttentionScratch scratch;
  scratch.outputs = grown(partials_, static_cast<std::size_t>(size.output_floats));
  scratch.stats = grown(stats_, static_cast<std::size_t>(size.stats_floats));
  counters_.assign(static_cast<std::size_t>(size.counters), 0);
  scratch.counters = counters_;
  return scratch;
}

}  // namespace onebeat::python
