// SPDX-License-Identifier: Apache-2.0
#include "device/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::size_t kAlignment = std::size_t{2} << 20;  // a huge page
constexpr std::int64_t kGrainWords = 1 << 16;             // 512 KB a claim

/// Four independent sums let the compiler keep as many loads in flight as the processor can.
std::uint64_t sum_words(const std::uint64_t* words, std::int64_t count) {
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (std::int64_t i = 0; i + 32 <= count; i += 32) {
    for (int k = 0; k < 8; ++k) {
      a += words[i + k];
      b += words[i + 8 + k];
      c += words[i + 16 + k];
      d += words[i + 24 + k];
    }
  }
  return a + b + c + d;
}

}  // namespace

Result<double> measure_read_bandwidth(ThreadPool& pool, std::size_t bytes, int passes) {
  if (bytes < (std::size_t{1} << 20) || passes < 1) {
    return invalid_argument("{} bytes in {} passes; bandwidth needs at least 1 MB and one pass",
                            bytes, passes);
  }
  const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(kAlignment, size),
                                                           &std::free);
  if (memory == nullptr)
    return resource_exhausted("no memory for a buffer of {} bytes to read", size);
#ifdef __linux__
  (void)madvise(memory.get(), size, MADV_HUGEPAGE);
#endif
  auto* words = static_cast<std::uint64_t*>(memory.get());
  const auto count = static_cast<std::int64_t>(size / sizeof(std::uint64_t));
  pool.parallel_for(count, kGrainWords, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) words[i] = static_cast<std::uint64_t>(i);
  });

  double best = 0;
  std::atomic<std::uint64_t> sink{0};
  for (int pass = 0; pass < passes; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.parallel_for(count, kGrainWords, [&](std::int64_t first, std::int64_t last, int) {
      sink.fetch_add(sum_words(words + first, last - first), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(size) / time.count() * 1e-9);
  }
  return best;
}

}  // namespace onebeat
