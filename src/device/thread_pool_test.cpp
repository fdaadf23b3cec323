// SPDX-License-Identifier: Apache-2.0
#include "device/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace onebeat {
namespace {

std::unique_ptr<ThreadPool> make_pool(int threads) {
  auto pool = ThreadPool::create(threads);
  EXPECT_TRUE(pool.ok()) << to_string(pool.status());
  return std::move(*pool);
}

TEST(ThreadPool, RefusesCountsItCannotHave) {
  for (const int threads : {0, -1, ThreadPool::kMaxThreads + 1}) {
    const auto pool = ThreadPool::create(threads);
    ASSERT_FALSE(pool.ok());
    EXPECT_EQ(pool.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(pool.status().message().find(std::to_string(threads)), std::string::npos);
  }
  EXPECT_GE(ThreadPool::available_processors(), 1);
}

TEST(ThreadPool, EveryIndexOnceForAnyCountGrainAndTeam) {
  std::mt19937 random(7);
  for (const int threads : {1, 2, 3, 4, 9}) {
    const auto pool = make_pool(threads);
    EXPECT_EQ(pool->threads(), threads);
    for (int call = 0; call < 300; ++call) {
      const std::int64_t count = std::uniform_int_distribution<int>(0, 200)(random);
      const std::int64_t grain = std::uniform_int_distribution<int>(0, 40)(random);
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
      const auto body = [&](std::int64_t begin, std::int64_t end, int thread) {
        EXPECT_LT(begin, end);
        EXPECT_LE(end - begin, std::max<std::int64_t>(grain, 1));
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        for (std::int64_t i = begin; i < end; ++i) hits[static_cast<std::size_t>(i)].fetch_add(1);
      };
      pool->parallel_for(count, grain, body);
      for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1);
      pool->parallel_shares(count, grain, body);
      for (const auto& hit : hits) ASSERT_EQ(hit.load(), 2);
    }
  }
}

TEST(ThreadPool, ResultsOfPlainWritesAreSeenByTheCallerAndByTheNextCall) {
  const auto pool = make_pool(4);
  std::vector<int> values(1000, 0);
  for (int call = 1; call <= 500; ++call) {
    pool->parallel_for(1000, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) ++values[static_cast<std::size_t>(i)];
    });
    if (call % 100 == 0) {
      // Long enough for the others to park.
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), 0), 1000 * call);
  }
}

TEST(ThreadPool, EachThreadRunsABodyAtMostOnceAndTheCallerAlways) {
  const auto pool = make_pool(4);
  for (int call = 0; call < 2000; ++call) {
    std::vector<int> runs(4, 0);  // not atomic: one thread, one entry
    pool->run([&](int thread) { ++runs[static_cast<std::size_t>(thread)]; });
    EXPECT_EQ(runs[0], 1);
    for (const int count : runs) EXPECT_LE(count, 1);
  }
}

TEST(ThreadPool, ManyMoreThreadsThanProcessorsFinishShortCalls) {
  const auto pool = make_pool(16);
  for (int call = 0; call < 300; ++call) {
    std::atomic<std::int64_t> sum{0};
    pool->parallel_for(64, 1, [&](std::int64_t begin, std::int64_t, int) { sum.fetch_add(begin); });
    ASSERT_EQ(sum.load(), 64 * 63 / 2);
  }
}

TEST(ThreadPool, ThreadsReallyWorkAtTheSameTime) {
  const auto pool = make_pool(3);
  // Each range waits until all three threads are inside one: possible only if three threads take
  // part.
  std::mutex mutex;
  std::condition_variable all_here;
  int inside = 0;
  pool->parallel_for(3, 1, [&](std::int64_t, std::int64_t, int) {
    std::unique_lock lock(mutex);
    ++inside;
    all_here.notify_all();
    EXPECT_TRUE(all_here.wait_for(lock, std::chrono::seconds(60), [&] { return inside == 3; }));
  });
  EXPECT_EQ(inside, 3);
}

TEST(ThreadPool, WorkspaceIsAlignedKeptAndGrows) {
  const auto pool = make_pool(2);
  EXPECT_TRUE(pool->workspace(0, 0).empty());
  const auto small = pool->workspace(0, 100);
  ASSERT_EQ(small.size(), 100u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.data()) % 64, 0u);
  EXPECT_EQ(pool->workspace(0, 50).data(), small.data());
  const auto large = pool->workspace(0, 1 << 20);
  ASSERT_EQ(large.size(), std::size_t{1} << 20);
  large.back() = std::byte{1};
  EXPECT_NE(pool->workspace(1, 100).data(), large.data());
}

TEST(ThreadPoolDeathTest, ACallInsideACallIsRefused) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        const auto pool = make_pool(1);
        pool->run([&](int) { pool->run([](int) {}); });
      },
      "in_call");
}

TEST(ThreadPool, PoolsComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    const auto pool = make_pool(3);
    if (i % 2 == 0) pool->run([](int) {});
  }
}

}  // namespace
}  // namespace onebeat
