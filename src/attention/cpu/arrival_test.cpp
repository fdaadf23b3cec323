// SPDX-License-Identifier: Apache-2.0
// The arrival protocol: whatever order workers run and arrive in, every unit is merged exactly
// once, by whoever comes last, with the same bits. Under the thread sanitizer this also shows that
// partial results are published.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "attention/cpu/decode_execution.h"
#include "attention/poisoned_batch_for_test.h"

namespace onebeat {
namespace {

BatchOptions split_batch(std::int32_t workers, std::int32_t invariant_chunk) {
  AttentionGeometry g;
  g.num_heads = 4;
  g.num_kv_heads = 2;
  g.head_dim = 16;
  g.head_dim_v = 24;
  g.tile_tokens = 16;
  g.workers = workers;
  g.invariant_chunk_tokens = invariant_chunk;
  return {.geometry = g, .lens = {900, 17, 0, 300, 1, 640}, .seed = static_cast<unsigned>(workers)};
}

void yield_some(void* context, std::uint32_t worker) {
  // A different number of yields for each worker and call, the same in every run of the program.
  auto* calls = static_cast<std::atomic<std::uint32_t>*>(context);
  const std::uint32_t call = calls->fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t mixed = (worker * 2654435761u) ^ (call * 2246822519u);
  for (std::uint32_t i = 0; i < (mixed >> 16) % 50; ++i) std::this_thread::yield();
}

TEST(Arrivals, AnyOrderOfWorkersGivesTheSameBits) {
  for (const std::int32_t invariant_chunk : {0, 32}) {
    for (const std::int32_t workers : {2, 3, 17, 64}) {
      PoisonedBatch batch(split_batch(workers, invariant_chunk));
      PlannedBatch planned(batch.options.geometry, batch.plan_batch());
      const auto pool = make_pool_for_test(1);
      std::vector<std::uint32_t> order(planned.plan().header().workers_active);
      std::iota(order.begin(), order.end(), 0u);
      std::mt19937 random(3);
      std::vector<float> expected;
      for (int trial = 0; trial < 20; ++trial) {
        batch.forget_results();
        const Status status = cpu::execute_decode(planned.plan(), batch.launch, planned.scratch(),
                                                  *pool, {order.data(), nullptr, nullptr});
        ASSERT_TRUE(status.ok()) << to_string(status);
        batch.expect_oracle("W " + std::to_string(workers));
        if (HasFatalFailure()) return;
        if (expected.empty()) expected = batch.out;
        ASSERT_EQ(batch.out, expected);
        for (const std::uint32_t counter : planned.counters()) ASSERT_EQ(counter, 0u);
        if (trial == 0) {
          std::reverse(order.begin(), order.end());
        } else {
          std::shuffle(order.begin(), order.end(), random);
        }
      }
    }
  }
}

TEST(Arrivals, DelayedThreadsGiveTheSameBits) {
  for (const std::int32_t invariant_chunk : {0, 32}) {
    for (const int threads : {2, 3, 4, 8}) {
      PoisonedBatch batch(split_batch(29, invariant_chunk));
      PlannedBatch planned(batch.options.geometry, batch.plan_batch());
      const auto pool = make_pool_for_test(threads);
      std::vector<std::uint32_t> order(planned.plan().header().workers_active);
      std::iota(order.begin(), order.end(), 0u);
      std::mt19937 random(static_cast<unsigned>(threads));
      std::atomic<std::uint32_t> calls{0};
      std::vector<float> expected;
      for (int trial = 0; trial < 40; ++trial) {
        batch.forget_results();
        const Status status = cpu::execute_decode(planned.plan(), batch.launch, planned.scratch(),
                                                  *pool, {order.data(), &yield_some, &calls});
        ASSERT_TRUE(status.ok()) << to_string(status);
        if (expected.empty()) {
          batch.expect_oracle("threads " + std::to_string(threads));
          if (HasFatalFailure()) return;
          expected = batch.out;
        }
        ASSERT_EQ(batch.out, expected) << "trial " << trial;
        std::shuffle(order.begin(), order.end(), random);
      }
      EXPECT_GT(calls.load(), 0u);  // something was split
    }
  }
}

// A plan whose records were damaged after it was opened: reported, nothing out of bounds, nobody
// hangs.
TEST(Arrivals, DamagedRecordsAreReportedAndBounded) {
  for (const std::int32_t invariant_chunk : {0, 32}) {
    std::mt19937 random(9);
    int reported = 0;
    for (int trial = 0; trial < 120; ++trial) {
      PoisonedBatch batch(split_batch(9, invariant_chunk));
      PlannedBatch planned(batch.options.geometry, batch.plan_batch());
      auto bytes = planned.writable_bytes();
      const PlanHeader& header = planned.plan().header();
      auto* records = reinterpret_cast<WorkerRecord*>(bytes.data() + header.workers_offset);
      WorkerRecord& record = records[random() % header.workers_active];
      const auto noise = static_cast<std::uint32_t>(random());
      switch (random() % 6) {
        case 0:
          record.continued_partials = static_cast<std::uint16_t>(noise);
          break;
        case 1:
          record.started_partials = static_cast<std::uint16_t>(noise);
          break;
        case 2:
          record.continued_owner = static_cast<std::uint16_t>(noise);
          break;
        case 3:
          record.begin_tile = noise;
          break;
        case 4:
          record.end_tile = noise;
          break;
        default:
          record.stamp ^= 1;
          break;
      }
      const auto opened = PlanView::open(bytes, batch.options.geometry);
      if (!opened.ok()) continue;  // refused before anything runs
      const auto pool = make_pool_for_test(2);
      const Status status = decode_attention(*opened, batch.launch, planned.scratch(), *pool);
      reported += status.ok() ? 0 : 1;
    }
    EXPECT_GT(reported, 0);
  }
}

}  // namespace
}  // namespace onebeat
