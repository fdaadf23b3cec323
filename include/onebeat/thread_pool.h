// SPDX-License-Identifier: Apache-2.0
// ThreadPool: the threads that the CPU kernels run on. Persistent; a call allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "onebeat/status.h"

namespace onebeat {

/// A team of threads of which the calling thread is number 0. Between calls the others spin for
/// some microseconds and then park. Work is claimed, never assigned: a thread that the system keeps
/// from running joins late or not at all, and the others do its share.
///
/// One call at a time: a body must not call the pool, and two threads must not use one pool at once
/// (both abort with a message). Bodies must not throw. What the caller wrote before a call, bodies
/// see; what they wrote, the caller sees.
class ThreadPool {
 public:
  /// Most threads of a pool.
  static constexpr int kMaxThreads = 1024;

  /// A pool of `threads`, the caller included.
  /// Errors: kInvalidArgument unless 1 <= threads <= kMaxThreads; kResourceExhausted if the system
  /// gives no more.
  [[nodiscard]] static Result<std::unique_ptr<ThreadPool>> create(int threads);

  /// Processors that this process may run on: what to ask create() for by default.
  [[nodiscard]] static int available_processors();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  /// Threads, the caller included.
  [[nodiscard]] int threads() const;

  /// Calls body(thread) on the caller (thread 0) and once on every other thread that comes before
  /// the caller's own body returns; returns when all bodies that began have returned. So a body
  /// must take its work from something shared until nothing is left; parallel_for() does that.
  template <typename Body>
  void run(Body&& body) {
    run_erased([](void* context,
                  int thread) { (*static_cast<std::remove_reference_t<Body>*>(context))(thread); },
               const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Calls body(begin, end, thread) for ranges of at most `grain` that cover [0, count) exactly
  /// once, each claimed by the next free thread in rising order. With one range or one thread
  /// nobody is woken.
  template <typename Body>
  void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
    parallel_for_erased(
        count, grain,
        [](void* context, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// The same ranges, in an order that suits memory: every thread begins with a share of its own,
  /// range after range, so that what a processor fetches ahead is what it needs next; who is done
  /// takes from the others' shares.
  template <typename Body>
  void parallel_shares(std::int64_t count, std::int64_t grain, Body&& body) {
    parallel_shares_erased(
        count, grain,
        [](void* context, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Working memory of one thread, 64-byte aligned, kept until the pool dies; contents are
  /// undefined. Call it from that thread's body, or between calls. Grows (allocates) only when more
  /// is asked for than ever before; empty if the system has no memory.
  [[nodiscard]] std::span<std::byte> workspace(int thread, std::size_t bytes);

 private:
  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);
  void run_erased(void (*call)(void*, int), void* context);
  void parallel_for_erased(std::int64_t count, std::int64_t grain,
                           void (*call)(void*, std::int64_t, std::int64_t, int), void* context);
  void parallel_shares_erased(std::int64_t count, std::int64_t grain,
                              void (*call)(void*, std::int64_t, std::int64_t, int), void* context);
  std::unique_ptr<State> state_;
};

}  // namespace onebeat
