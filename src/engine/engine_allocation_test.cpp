// SPDX-License-Identifier: Apache-2.0
// Steps allocate nothing once the engine is warm: this program counts its own allocations.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 at -O3 mistakes the memory of operators new that it does not know for too small.
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/tiny_engine_for_test.h"

namespace {
std::atomic<long> allocations = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(bytes)
          : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// Not inlined: GCC 12 would see free() of what it knows to come from operator new, and warn.
#define ONEBEAT_REPLACEMENT [[gnu::noinline]]

ONEBEAT_REPLACEMENT void* operator new(std::size_t bytes) {
  return counted(bytes, 1);
}
ONEBEAT_REPLACEMENT void* operator new[](std::size_t bytes) {
  return counted(bytes, 1);
}
ONEBEAT_REPLACEMENT void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
ONEBEAT_REPLACEMENT void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
ONEBEAT_REPLACEMENT void operator delete(void* memory) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete[](void* memory) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
ONEBEAT_REPLACEMENT void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace onebeat {
namespace {

TEST(EngineAllocation, NoneInAStepAfterTheFirstRequests) {
  for (const bool quantised : {false, true}) {
    for (const std::int32_t in_flight : {1, 2}) {
      const testing::TinyModelFile file(quantised ? testing::quantised_tiny_model()
                                                  : testing::TinyModel());
      EngineOptions options;
      options.threads = 2;
      options.max_requests = 6;
      options.prefill_chunk = 40;
      options.steps_in_flight = in_flight;
      options.batch_invariant = quantised;
      const auto engine = file.load(options);
      std::int64_t tokens = 0;
      const auto submit_some = [&](unsigned seed, std::int32_t completions) {
        std::mt19937 random(seed);
        for (int i = 0; i < 4; ++i) {
          Request request;
          request.prompt = testing::random_ids(random, 300, file.vocabulary());
          request.max_tokens = 150;
          request.completions = i == 3 ? completions : 1;
          request.sampling.temperature = i == 0 ? 0.0f : 1.0f;
          request.sampling.top_p = i == 1 ? 0.9f : 1.0f;
          request.sampling.log_probs = i == 2 ? 5 : -1;
          request.sampling.frequency_penalty = i == 1 ? 0.5f : 0.0f;
          if (i == 2) {
            request.mask = [](std::int32_t, std::span<const std::int32_t>,
                              std::span<std::uint32_t> allowed) { allowed[0] &= ~1u; };
          }
          request.on_event = [&tokens](const TokenEvent& event) {
            tokens += event.token != kNoToken;
            return true;
          };
          ASSERT_TRUE(engine->submit(std::move(request)).ok());
        }
      };
      submit_some(1, 2);
      while (engine->step()) {
      }
      const std::int64_t warm = tokens;
      submit_some(2, 1);
      engine->step();  // takes all of them in and begins them
      const long before = allocations;
      int steps = 0;
      // Prompts in chunks, then decoding, up to the first end.
      while (tokens < warm + 500 && engine->step()) ++steps;
      EXPECT_GT(steps, 100);
      EXPECT_EQ(allocations - before, 0) << steps << " steps";
      while (engine->step()) {
      }
    }
  }
}

}  // namespace
}  // namespace onebeat
