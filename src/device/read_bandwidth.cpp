// SPDX-License-Identifier: Apache-2.0
// The limit that CPU kernels are measured against: all threads sum one buffer that no cache holds.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "device/machine_facts.h"

namespace onebeat {
namespace {

constexpr std::int64_t kBufferBytes = std::int64_t{512} << 20;
constexpr std::int64_t kGrainBytes = std::int64_t{1} << 20;

/// Eight independent sums, so that loads and not additions are waited for.
std::uint64_t sum(const std::uint64_t* begin, const std::uint64_t* end) {
  std::uint64_t sums[8] = {};
  for (const std::uint64_t* at = begin; at != end; at += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += at[lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t lane : sums) total += lane;
  return total;
}

}  // namespace

double measure_read_bandwidth(ThreadPool& pool, double seconds) {
  using Clock = std::chrono::steady_clock;
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(4096, kBufferBytes),
                                                      std::free);
  if (memory == nullptr) return 0;
  auto* const words = static_cast<std::uint64_t*>(memory.get());
  const auto word = [](std::int64_t byte) {
    return byte / static_cast<std::int64_t>(sizeof(std::uint64_t));
  };
  pool.parallel_for(kBufferBytes, kGrainBytes, [&](std::int64_t begin, std::int64_t end, int) {
    std::fill(words + word(begin), words + word(end), 1);
  });

  std::atomic<std::uint64_t> total{0};
  double best = 0;
  const auto start = Clock::now();
  std::chrono::duration<double> spent{0};
  while (spent.count() < seconds) {
    const auto begin_pass = Clock::now();
    pool.parallel_for(kBufferBytes, kGrainBytes, [&](std::int64_t begin, std::int64_t end, int) {
      total.fetch_add(sum(words + word(begin), words + word(end)), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> pass = Clock::now() - begin_pass;
    best = std::max(best, static_cast<double>(kBufferBytes) / pass.count());
    spent = Clock::now() - start;
  }
  // The sums are looked at, so that no compiler drops the reads.
  return total.load() == 0 ? 0 : best;
}

}  // namespace onebeat
