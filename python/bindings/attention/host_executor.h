// SPDX-License-Identifier: Apache-2.0
// The threads and buffers that calls on host arrays share. One call at a time; others wait.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "onebeat/attention.h"
#include "onebeat/thread_pool.h"

namespace onebeat::python {

class HostExecutor {
 public:
  /// The process's one, with a thread for each processor unless use_threads() said otherwise.
  [[nodiscard]] static HostExecutor& instance();

  /// Throws InvalidArgumentError or ResourceExhaustedError.
  void use_threads(int threads);
  [[nodiscard]] int threads();

  /// Runs `body(executor)` with the buffers to itself and Python's lock given up.
  template <typename Body>
  [[nodiscard]] Status run(Body&& body);

  // For the body.
  [[nodiscard]] ThreadPool& pool() { return *pool_; }
  [[nodiscard]] std::span<float> queries(std::size_t floats) { return grown(queries_, floats); }
  [[nodiscard]] std::span<float> outputs(std::size_t floats) { return grown(outputs_, floats); }
  [[nodiscard]] AttentionScratch scratch(const ScratchSize& size);

 private:
  HostExecutor() = default;
  void ensure_pool();
  static std::span<float> grown(std::vector<float>& buffer, std::size_t floats) {
    if (buffer.size() < floats + 4) buffer.resize(floats + 4);
    const std::size_t misaligned =
        reinterpret_cast<std::uintptr_t>(buffer.data()) / sizeof(float) % 4;
    return std::span(buffer).subspan(misaligned == 0 ? 0 : 4 - misaligned, floats);
  }

  std::mutex mutex_;
  std::unique_ptr<ThreadPool> pool_;
  std::vector<float> queries_, outputs_, partials_, stats_;
  std::vector<std::uint32_t> counters_;
};

template <typename Body>
Status HostExecutor::run(Body&& body) {
  const std::lock_guard lock(mutex_);
  ensure_pool();
  return body(*this);
}

}  // namespace onebeat::python
