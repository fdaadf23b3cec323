// SPDX-License-Identifier: Apache-2.0
// Why it is built so: a decode step makes hundreds of calls of some microseconds each, on machines
// whose cores may be shared. So the start of a call is one store, threads that just worked are
// still spinning, and the caller never waits for a thread that has not begun: it closes the call
// when its own body returns.
//
// One word holds the state of the call: [epoch : 32][open : 1][joined : 31].
// 1. A thread joins by raising `joined` with a compare-exchange on a word that it saw open with an
// epoch that it has
//    not served; so it never runs a body that the caller has closed.
// 2. The caller closes by clearing `open` and waits for `joined` to fall to 0; only then does it
// return, so the body
//    outlives all who run it, and the next call may write body_ again.
// 3. Parking is a condition variable, whose waiters are counted: a thread counts itself, then looks
// at the word again;
//    the caller publishes the word, then looks at the count. Both are sequentially consistent, so
//    one sees the other.
#include "onebeat/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::uint64_t kOpen = 1ull << 31;
constexpr std::uint64_t kJoinedMask = kOpen - 1;
constexpr std::size_t kAlignment = 64;

// Some 150 us of pauses, longer than the gaps within a step and between two steps, shorter than
// anybody notices: waking a parked thread takes tens of microseconds.
constexpr int kSpins = 3000;
// The caller waits for threads that are at work; one that has lost its processor needs the
// caller's.
constexpr int kSpinsBeforeYield = 400;

void pause_once() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};

/// The ranges of one thread that nobody has taken yet.
struct alignas(kAlignment) Share {
  std::atomic<std::int64_t> next{0};
  std::int64_t end = 0;
};

struct alignas(kAlignment) Workspace {
  std::unique_ptr<std::byte, FreeMemory> memory;
  std::size_t size = 0;
};

}  // namespace

struct ThreadPool::State {
  alignas(kAlignment) std::atomic<std::uint64_t> word{0};
  alignas(kAlignment) std::atomic<int> parked{0};
  std::atomic<bool> in_call{false};
  std::atomic<bool> stop{false};
  void (*call)(void*, int) = nullptr;
  void* context = nullptr;

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  std::vector<Workspace> workspaces;
  std::vector<Share> shares;  // One for each thread.

  static bool is_new(std::uint64_t word, std::uint64_t served) {
    return (word & kOpen) != 0 && (word >> 32) != served;
  }
  bool try_join(std::uint64_t& served);
  void serve(int thread);
  void park(std::uint64_t served);
};

bool ThreadPool::State::try_join(std::uint64_t& served) {
  std::uint64_t seen = word.load(std::memory_order_acquire);
  while (is_new(seen, served)) {
    if (word.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) {
      served = seen >> 32;
      return true;
    }
  }
  return false;
}

void ThreadPool::State::park(std::uint64_t served) {
  std::unique_lock lock(mutex);
  parked.fetch_add(1);
  wake.wait(lock, [&] { return stop.load() || is_new(word.load(), served); });
  parked.fetch_sub(1);
}

void ThreadPool::State::serve(int thread) {
  std::uint64_t served = 0;
  while (true) {
    bool joined = false;
    for (int spin = 0; spin < kSpins && !joined; ++spin) {
      joined = try_join(served);
      if (!joined) pause_once();
    }
    if (joined) {
      call(context, thread);
      word.fetch_sub(1, std::memory_order_acq_rel);
      continue;
    }
    if (stop.load()) return;
    park(served);
  }
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(int threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return invalid_argument("a thread pool of {} threads; it takes 1 to {}", threads, kMaxThreads);
  }
  auto state = std::make_unique<State>();
  state->workspaces.resize(static_cast<std::size_t>(threads));
  state->shares = std::vector<Share>(static_cast<std::size_t>(threads));
  std::unique_ptr<ThreadPool> pool(new ThreadPool(std::move(state)));
  for (int thread = 1; thread < threads; ++thread) {
    try {
      pool->state_->threads.emplace_back([s = pool->state_.get(), thread] { s->serve(thread); });
    } catch (const std::system_error& error) {
      return resource_exhausted("the system started {} of {} threads ({}); ask for fewer", thread,
                                threads, error.what());
    }
  }
  return pool;
}

int ThreadPool::available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(std::unique_ptr<State> state) : state_(std::move(state)) {}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workspaces.size());
}

std::span<std::byte> ThreadPool::workspace(int thread, std::size_t bytes) {
  ONEBEAT_CHECK(thread >= 0 && thread < threads());
  Workspace& workspace = state_->workspaces[static_cast<std::size_t>(thread)];
  if (workspace.size < bytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    workspace.memory.reset();
    workspace.memory.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
    workspace.size = workspace.memory ? rounded : 0;
  }
  if (workspace.size < bytes) return {};
  return {workspace.memory.get(), bytes};
}

void ThreadPool::run_erased(void (*call)(void*, int), void* context) {
  State& state = *state_;
  ONEBEAT_CHECK(!state.in_call.exchange(true, std::memory_order_acquire));  // one call at a time
  if (state.threads.empty()) {
    call(context, 0);
    state.in_call.store(false, std::memory_order_release);
    return;
  }
  state.call = call;
  state.context = context;
  // 32 bits of epoch: a thread that slept through exactly 2^32 calls would miss one, and its share
  // be done by others.
  const std::uint64_t epoch = (state.word.load(std::memory_order_relaxed) >> 32) + 1;
  state.word.store(epoch << 32 | kOpen);
  if (state.parked.load() > 0) {
    // A thread between its look at the word and its sleep holds the mutex; taking it once orders us
    // after that.
    { std::lock_guard lock(state.mutex); }
    state.wake.notify_all();
  }

  call(context, 0);

  state.word.fetch_and(~kOpen, std::memory_order_acq_rel);
  int spin = 0;
  while ((state.word.load(std::memory_order_acquire) & kJoinedMask) != 0) {
    if (++spin < kSpinsBeforeYield) {
      pause_once();
    } else {
      sched_yield();
    }
  }
  state.in_call.store(false, std::memory_order_release);
}

void ThreadPool::parallel_for_erased(std::int64_t count, std::int64_t grain,
                                     void (*call)(void*, std::int64_t, std::int64_t, int),
                                     void* context) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  if (count <= grain || threads() == 1) {
    ONEBEAT_CHECK(
        !state_->in_call.exchange(true, std::memory_order_acquire));  // one call at a time
    for (std::int64_t begin = 0; begin < count; begin += std::min(grain, count - begin)) {
      call(context, begin, begin + std::min(grain, count - begin), 0);
    }
    state_->in_call.store(false, std::memory_order_release);
    return;
  }
  struct alignas(kAlignment) Ranges {
    std::atomic<std::int64_t> next{0};
  } ranges;
  const std::int64_t total = (count - 1) / grain + 1;
  auto body = [&](int thread) {
    while (true) {
      const std::int64_t range = ranges.next.fetch_add(1, std::memory_order_relaxed);
      if (range >= total) return;
      const std::int64_t begin = range * grain;
      call(context, begin, begin + std::min(grain, count - begin), thread);
    }
  };
  run(body);
}

void ThreadPool::parallel_shares_erased(std::int64_t count, std::int64_t grain,
                                        void (*call)(void*, std::int64_t, std::int64_t, int),
                                        void* context) {
  grain = std::max<std::int64_t>(grain, 1);
  if (count <= grain || threads() == 1) return parallel_for_erased(count, grain, call, context);
  std::vector<Share>& shares = state_->shares;
  const std::int64_t total = (count - 1) / grain + 1;
  const auto number = static_cast<std::int64_t>(shares.size());
  for (std::int64_t i = 0; i < number; ++i) {
    Share& share = shares[static_cast<std::size_t>(i)];
    share.next.store(total * i / number, std::memory_order_relaxed);
    share.end = total * (i + 1) / number;
  }
  auto body = [&](int thread) {
    for (std::int64_t i = 0; i < number; ++i) {
      Share& share = shares[static_cast<std::size_t>((thread + i) % number)];
      // Looked at first: a share that is used up is not written again.
      while (share.next.load(std::memory_order_relaxed) < share.end) {
        const std::int64_t range = share.next.fetch_add(1, std::memory_order_relaxed);
        if (range >= share.end) break;
        const std::int64_t begin = range * grain;
        call(context, begin, begin + std::min(grain, count - begin), thread);
      }
    }
  };
  run(body);
}

}  // namespace onebeat
