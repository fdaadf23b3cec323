// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "attention/poisoned_batch_for_test.h"

namespace onebeat {
namespace {

AttentionGeometry geometry_of(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = dim;
  g.head_dim_v = dim;
  return g;
}

void check_prefill(const BatchOptions& options, int threads) {
  PoisonedBatch batch(options);
  const auto pool = make_pool_for_test(threads);
  for (const CpuVariant& variant : cpu_attention_variants()) {
    if (!variant.supported) continue;
    batch.forget_results();
    AttentionReport report;
    batch.launch.variant = variant.name;
    batch.launch.report = &report;
    const Status status =
        prefill_attention(options.geometry, batch.prefill_batch(), batch.launch, *pool);
    ASSERT_TRUE(status.ok()) << to_string(status);
    EXPECT_EQ(report.variant, variant.name);
    batch.expect_oracle(std::string(variant.name));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(PrefillAttention, WholePromptsOfEveryTypeAndGroup) {
  unsigned seed = 1;
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kF8E4M3}) {
    for (const std::int32_t group : {1, 3, 8}) {
      AttentionGeometry g = geometry_of(2 * group, 2, 64);
      g.kv_type = type;
      g.page_tokens = seed % 2 == 0 ? 1 : 16;
      const std::vector<std::int32_t> lens = {1, 63, 64, 65, 0, 150};
      SCOPED_TRACE("seed " + std::to_string(seed));
      check_prefill({.geometry = g,
                     .lens = lens,
                     .query_tokens = lens,
                     .padded_rows = seed % 2 == 0,
                     .seed = seed},
                    2);
      if (HasFatalFailure()) return;
      ++seed;
    }
  }
}

TEST(PrefillAttention, PartsOfPromptsBehindAPrefix) {
  for (const std::int32_t dim : {64, 80, 128, 256}) {
    const AttentionGeometry g = geometry_of(6, 2, dim);
    check_prefill({.geometry = g,
                   .lens = {200, 129, 0, 77, 31},
                   .query_tokens = {70, 1, 0, 77, 0},
                   .seed = 9},
                  3);
    if (HasFatalFailure()) return;
  }
}

TEST(PrefillAttention, WindowsChunksCapsSinksAndBothDirections) {
  unsigned seed = 20;
  for (const std::int32_t window : {-1, 0, 40, 100}) {
    for (const std::int32_t chunk : {0, 48}) {
      for (const bool causal : {true, false}) {
        AttentionGeometry g = geometry_of(4, 2, 64);
        g.window_left = window;
        g.chunk_tokens = chunk;
        g.causal = causal;
        g.invariant_chunk_tokens = seed % 2 == 0 ? 64 : 0;
        BatchOptions options{.geometry = g, .lens = {210, 64, 131}, .query_tokens = {210, 30, 131}};
        options.soft_cap = seed % 3 == 0 ? 4.0f : 0.0f;
        options.sinks = seed % 2 == 0;
        options.seed = seed;
        SCOPED_TRACE("window " + std::to_string(window) + ", chunk " + std::to_string(chunk) +
                     ", causal " + std::to_string(causal));
        check_prefill(options, 2);
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST(PrefillAttention, RefusesBatchesThatDoNotFit) {
  const AttentionGeometry g = geometry_of(4, 2, 64);
  PoisonedBatch batch({.geometry = g, .lens = {20, 30}, .query_tokens = {20, 10}});
  const auto pool = make_pool_for_test(1);
  const auto refused = [&](StatusCode code, std::vector<std::int32_t> begin,
                           std::vector<std::int32_t> lens) {
    const Status status = prefill_attention(g, {begin, lens}, batch.launch, *pool);
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_TRUE(std::isnan(batch.out[0]));
  };
  refused(StatusCode::kInvalidArgument, {0, 20}, {20, 30});
  refused(StatusCode::kInvalidArgument, {1, 20, 30}, {20, 30});
  refused(StatusCode::kOutOfRange, {0, 20, 10}, {20, 30});
  refused(StatusCode::kOutOfRange, {0, 20, 30}, {19, 30});
  refused(StatusCode::kOutOfRange, {0, 20, 30}, {20, -1});
  refused(StatusCode::kInvalidArgument, {0, 20, 31}, {20, 30});
  batch.page_ids[static_cast<std::size_t>(batch.row_of[1] * batch.launch.pages.row_stride)] = -7;
  EXPECT_EQ(prefill_attention(g, batch.prefill_batch(), batch.launch, *pool).code(),
            StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace onebeat
