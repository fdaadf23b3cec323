// SPDX-License-Identifier: Apache-2.0
// Batch-invariant mode: the bits of a request depend on nothing but the request.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "attention/poisoned_batch_for_test.h"
#include "attention/same_request_for_test.h"

namespace onebeat {
namespace {

AttentionGeometry invariant_geometry(std::int32_t chunk, std::int32_t tile, std::int32_t workers) {
  AttentionGeometry g;
  g.num_heads = 6;
  g.num_kv_heads = 2;
  g.head_dim = 64;
  g.head_dim_v = 72;
  g.page_tokens = 8;
  g.tile_tokens = tile;
  g.invariant_chunk_tokens = chunk;
  g.workers = workers;
  return g;
}

// Row (token, head) of two batches must have the same bits.
void expect_same_rows(const PoisonedBatch& a, std::size_t a_token, const PoisonedBatch& b,
                      std::size_t b_token, const std::string& what) {
  const auto heads = static_cast<std::size_t>(a.options.geometry.num_heads);
  const std::size_t row = heads * static_cast<std::size_t>(a.options.geometry.head_dim_v);
  for (std::size_t i = 0; i < row; ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(a.out[a_token * row + i]),
              std::bit_cast<std::uint32_t>(b.out[b_token * row + i]))
        << what << ", element " << i;
  }
  for (std::size_t h = 0; h < heads; ++h) {
    ASSERT_EQ(a.lse[a_token * heads + h], b.lse[b_token * heads + h]) << what;
  }
}

TEST(BatchInvariance, AgreesWithTheOracleForAnyWorkersAndThreads) {
  unsigned seed = 1;
  for (const std::int32_t chunk : {8, 64, 128, 256}) {
    for (const std::int32_t workers : {1, 2, 5, 40, 200}) {
      for (const std::int32_t window : {-1, 100}) {
        AttentionGeometry g = invariant_geometry(chunk, std::min(chunk, 64), workers);
        g.window_left = window;
        PoisonedBatch batch({.geometry = g,
                             .lens = {1500, 0, 1, 63, 64, 65, 700, 257},
                             .sinks = true,
                             .seed = seed++});
        PlannedBatch planned(g, batch.plan_batch());
        const auto pool = make_pool_for_test(2);
        const Status status =
            decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool);
        ASSERT_TRUE(status.ok()) << to_string(status);
        batch.expect_oracle("chunk " + std::to_string(chunk) + ", W " + std::to_string(workers));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(BatchInvariance, WorkersThreadsAndCompanyChangeNoBit) {
  const auto seed = static_cast<unsigned>(std::random_device{}());
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  for (int round = 0; round < 60; ++round) {
    const std::int32_t chunk = 32 << below(3);
    AttentionGeometry g = invariant_geometry(chunk, std::min(chunk, 64), 1);
    if (below(2) == 0) g.window_left = below(500);
    if (below(4) == 0) g.chunk_tokens = 1 + below(400);
    g.max_query_tokens = below(3) == 0 ? 1 + below(16) : 1;
    g.kv_type = std::array{KvType::kBF16, KvType::kF32,
                           KvType::kF8E4M3}[static_cast<std::size_t>(below(3))];
    const std::int32_t len = g.max_query_tokens + below(2500);
    PoisonedBatch alone({.geometry = g,
                         .lens = {len},
                         .layout = KvLayout::kNhd,
                         .sinks = true,
                         .seed = seed + static_cast<unsigned>(round)});
    PlannedBatch alone_plan(g, alone.plan_batch());
    const auto one = make_pool_for_test(1);
    for (const CpuVariant& variant : cpu_attention_variants()) {
      if (!variant.supported) continue;
      alone.launch.variant = variant.name;
      ASSERT_TRUE(
          decode_attention(alone_plan.plan(), alone.launch, alone_plan.scratch(), *one).ok());

      BatchOptions options{.geometry = g};
      options.layout = KvLayout::kNhd;  // its pages are contiguous, as copy_request() needs
      options.geometry.workers = 1 + below(100);
      const std::size_t place = static_cast<std::size_t>(below(6));
      for (std::size_t r = 0; r < 6; ++r) {
        options.lens.push_back(r == place ? len : g.max_query_tokens + below(1200));
      }
      options.seed = static_cast<unsigned>(below(1 << 30));
      PoisonedBatch together(options);
      copy_request(alone, 0, together, place);
      // The same sinks: they belong to the layer, not to the batch.
      together.launch.score.sinks = alone.sinks.data();
      together.launch.variant = variant.name;
      PlannedBatch plan(options.geometry, together.plan_batch());
      const auto pool = make_pool_for_test(1 + below(4));
      const Status status = decode_attention(plan.plan(), together.launch, plan.scratch(), *pool);
      ASSERT_TRUE(status.ok()) << to_string(status);
      for (std::int32_t t = 0; t < g.max_query_tokens; ++t) {
        expect_same_rows(alone, static_cast<std::size_t>(t), together,
                         static_cast<std::size_t>(together.query_begin[place] + t),
                         "round " + std::to_string(round) + ", " + std::string(variant.name) +
                             ", length " + std::to_string(len) + ", W " +
                             std::to_string(options.geometry.workers));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(BatchInvariance, APromptGivesTheBitsOfDecode) {
  for (const std::int32_t window : {-1, 90}) {
    AttentionGeometry g = invariant_geometry(64, 32, 9);
    g.window_left = window;
    g.kv_type = window == -1 ? KvType::kBF16 : KvType::kF8E4M3;
    const std::int32_t len = 333;
    PoisonedBatch prompt({.geometry = g, .lens = {len}, .query_tokens = {len}, .seed = 5});
    const auto pool = make_pool_for_test(2);
    for (const CpuVariant& variant : cpu_attention_variants()) {
      if (!variant.supported) continue;
      prompt.launch.variant = variant.name;
      ASSERT_TRUE(prefill_attention(g, prompt.prefill_batch(), prompt.launch, *pool).ok());
      // The same token later, as the only query of a decode step of every length.
      for (const std::int32_t at : {1, 2, 63, 64, 65, 128, 129, 200, 332, 333}) {
        PoisonedBatch step({.geometry = g, .lens = {at}, .seed = 6});
        step.launch.kv = prompt.launch.kv;
        step.launch.pages = prompt.launch.pages;
        std::copy_n(prompt.q.begin() + (at - 1) * prompt.launch.q.token_stride,
                    prompt.launch.q.token_stride, step.q.begin());
        step.launch.variant = variant.name;
        PlannedBatch plan(g, step.plan_batch());
        ASSERT_TRUE(decode_attention(plan.plan(), step.launch, plan.scratch(), *pool).ok());
        expect_same_rows(prompt, static_cast<std::size_t>(at - 1), step, 0,
                         std::string(variant.name) + ", position " + std::to_string(at - 1));
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace onebeat
