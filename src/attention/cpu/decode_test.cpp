// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "attention/poisoned_batch_for_test.h"

namespace onebeat {
namespace {

std::vector<std::string> supported_variants() {
  std::vector<std::string> names;
  for (const CpuVariant& variant : cpu_attention_variants()) {
    if (variant.supported) names.emplace_back(variant.name);
  }
  return names;
}

AttentionGeometry geometry_of(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim,
                              std::int32_t workers) {
  AttentionGeometry geometry;
  geometry.num_heads = heads;
  geometry.num_kv_heads = kv_heads;
  geometry.head_dim = dim;
  geometry.head_dim_v = dim;
  geometry.workers = workers;
  geometry.kv_type = KvType::kBF16;
  return geometry;
}

// Runs the batch in every variant and compares with the oracle.
void check_decode(const BatchOptions& options, int threads) {
  PoisonedBatch batch(options);
  PlannedBatch planned(options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(threads);
  for (const std::string& variant : supported_variants()) {
    batch.forget_results();
    AttentionReport report;
    batch.launch.variant = variant;
    batch.launch.report = &report;
    const Status status = decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool);
    ASSERT_TRUE(status.ok()) << to_string(status);
    EXPECT_EQ(report.variant, variant);
    EXPECT_EQ(report.faults, 0u);
    batch.expect_oracle(variant + ", W " + std::to_string(options.geometry.workers) + ", threads " +
                        std::to_string(threads));
    for (const std::uint32_t counter : planned.counters()) ASSERT_EQ(counter, 0u);
    if (testing::Test::HasFatalFailure()) return;
  }
}

std::vector<std::int32_t> edge_lengths(const AttentionGeometry& g) {
  const std::int32_t p = g.page_tokens;
  const std::int32_t n = g.tile_tokens;
  std::vector<std::int32_t> lens = {0, 1, p - 1, p, p + 1, n - 1, n, n + 1, 2 * n + 3};
  // A request may have fewer KV than query tokens only if it has none.
  for (std::int32_t& len : lens) {
    if (len > 0) len = std::max(len, g.max_query_tokens);
  }
  return lens;
}

TEST(CpuVariants, AreListedAndTheBestIsTakenByDefault) {
  const auto variants = cpu_attention_variants();
  ASSERT_FALSE(variants.empty());
  EXPECT_EQ(variants.back().name, "portable");
  EXPECT_TRUE(variants.back().supported);

  PoisonedBatch batch({.geometry = geometry_of(4, 2, 64, 2), .lens = {5}});
  PlannedBatch planned(batch.options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(1);
  AttentionReport report;
  batch.launch.report = &report;
  ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
  EXPECT_EQ(report.variant, supported_variants().front());

  batch.forget_results();
  batch.launch.variant = "abacus";
  const Status status = decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("abacus"), std::string::npos);
  EXPECT_NE(status.message().find("portable"), std::string::npos);
  EXPECT_TRUE(std::isnan(batch.out[0]));
}

TEST(DecodeAttention, EdgeLengthsForEveryTypePageAndTeam) {
  unsigned seed = 1;
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kF8E4M3}) {
    for (const std::int32_t page : {1, 2, 16, 64, 256}) {
      for (const std::int32_t workers : {1, 3, 16}) {
        AttentionGeometry g = geometry_of(4, 2, 64, workers);
        g.kv_type = type;
        g.page_tokens = page;
        BatchOptions options{.geometry = g, .lens = edge_lengths(g)};
        options.layout = seed % 2 == 0 ? KvLayout::kRuns : KvLayout::kNhd;
        options.direct = seed % 3 != 0;
        options.padded_rows = seed % 4 == 0;
        options.seed = seed;
        SCOPED_TRACE("seed " + std::to_string(seed));
        check_decode(options, 1 + static_cast<int>(seed % 4));
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST(DecodeAttention, HeadSizesAndGroups) {
  const struct {
    std::int32_t dim, dim_v, heads, kv_heads;
  } shapes[] = {{64, 64, 9, 3},   {80, 80, 2, 2},    {96, 96, 5, 1},  {128, 128, 8, 2},
                {256, 256, 6, 2}, {192, 128, 4, 1},  {64, 512, 4, 2}, {72, 40, 7, 1},
                {8, 24, 3, 1},    {128, 128, 16, 1}, {64, 64, 22, 2}, {512, 512, 12, 1},
                {128, 128, 10, 5}};
  unsigned seed = 100;
  for (const auto& shape : shapes) {
    for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kF8E4M3}) {
      AttentionGeometry g = geometry_of(shape.heads, shape.kv_heads, shape.dim, 7);
      g.head_dim_v = shape.dim_v;
      g.kv_type = type;
      SCOPED_TRACE(std::to_string(shape.dim) + "/" + std::to_string(shape.dim_v) + ", seed " +
                   std::to_string(seed));
      check_decode({.geometry = g, .lens = {1, 63, 130, 0, 517}, .seed = seed}, 2);
      if (HasFatalFailure()) return;
      ++seed;
    }
  }
}

TEST(DecodeAttention, ManyQueryTokensInOneAndInSeveralTiles) {
  unsigned seed = 200;
  for (const std::int32_t group : {1, 3, 8, 16}) {
    for (const std::int32_t tokens : {2, 5, 16}) {
      for (const bool causal : {true, false}) {
        AttentionGeometry g = geometry_of(2 * group, 2, 64, 5);
        g.max_query_tokens = tokens;
        g.causal = causal;
        BatchOptions options{.geometry = g, .lens = {16, 100, 0, 401, 33}, .seed = seed};
        options.query_tokens = {tokens, 1, tokens, tokens, 0};
        SCOPED_TRACE("R " + std::to_string(group) + ", T " + std::to_string(tokens) + ", seed " +
                     std::to_string(seed));
        check_decode(options, 3);
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST(DecodeAttention, WindowsChunksCapsAndSinks) {
  unsigned seed = 300;
  for (const std::int32_t window : {-1, 0, 1, 63, 64, 200}) {
    for (const std::int32_t chunk : {0, 1, 50, 128}) {
      AttentionGeometry g = geometry_of(6, 2, 64, 6);
      g.window_left = window;
      g.chunk_tokens = chunk;
      g.max_query_tokens = seed % 3 == 0 ? 4 : 1;
      g.page_tokens = seed % 2 == 0 ? 1 : 8;
      BatchOptions options{.geometry = g, .lens = {0, 4, 64, 65, 129, 300, 511}, .seed = seed};
      options.soft_cap = seed % 2 == 0 ? 5.0f : 0.0f;
      options.sinks = seed % 4 < 2;
      SCOPED_TRACE("window " + std::to_string(window) + ", chunk " + std::to_string(chunk) +
                   ", seed " + std::to_string(seed));
      check_decode(options, 2);
      if (HasFatalFailure()) return;
      ++seed;
    }
  }
}

TEST(DecodeAttention, ScalesOfFp8WithCapsSinksWindowsAndManyRows) {
  unsigned seed = 350;
  for (const std::int32_t tokens : {1, 5}) {
    for (const float cap : {0.0f, 4.0f}) {
      for (const bool scales : {true, false}) {
        AttentionGeometry g = geometry_of(9, 3, 72, 6);
        g.kv_type = KvType::kF8E4M3;
        g.max_query_tokens = tokens;
        g.window_left = seed % 2 == 0 ? 70 : -1;
        BatchOptions options{.geometry = g, .lens = {5, 64, 0, 301}, .seed = seed};
        options.soft_cap = cap;
        options.sinks = true;
        options.scales = scales;
        SCOPED_TRACE("seed " + std::to_string(seed));
        check_decode(options, 2);
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST(DecodeAttention, RefusesScalesThatAreNoScales) {
  AttentionGeometry g = geometry_of(4, 2, 64, 4);
  g.kv_type = KvType::kF8E4M3;
  PoisonedBatch batch({.geometry = g, .lens = {100, 40}, .seed = 460});
  PlannedBatch planned(g, batch.plan_batch());
  const auto pool = make_pool_for_test(1);
  const auto refusal = [&] {
    const Status status = decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << to_string(status);
    EXPECT_TRUE(std::isnan(batch.out[0]));
    return std::string(status.message());
  };
  for (std::vector<float>* scales : {&batch.k_scales, &batch.v_scales}) {
    for (const float bad : {0.0f, -1.0f, INFINITY, PoisonedBatch::kNaN}) {
      const float good = std::exchange((*scales)[1], bad);
      EXPECT_NE(refusal().find("KV head 1"), std::string::npos) << bad;
      (*scales)[1] = good;
    }
  }
  const float* good = std::exchange(
      batch.launch.kv.v_scales,
      reinterpret_cast<const float*>(reinterpret_cast<const char*>(batch.v_scales.data()) + 2));
  EXPECT_NE(refusal().find("aligned"), std::string::npos);
  batch.launch.kv.v_scales = good;
  ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());

  PoisonedBatch half({.geometry = geometry_of(4, 2, 64, 4), .lens = {5}});
  PlannedBatch half_plan(half.options.geometry, half.plan_batch());
  half.launch.kv.k_scales = batch.k_scales.data();
  const Status status = decode_attention(half_plan.plan(), half.launch, half_plan.scratch(), *pool);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("only fp8 e4m3 takes them"), std::string::npos);
}

TEST(DecodeAttention, LongRequestsOverManyWorkers) {
  for (const std::int32_t workers : {1, 2, 33, 132, 4096}) {
    AttentionGeometry g = geometry_of(4, 2, 64, workers);
    check_decode({.geometry = g, .lens = {4097, 4096, 1, 4095}, .soft_cap = 0, .seed = 400}, 2);
    if (HasFatalFailure()) return;
  }
}

// Scores of several hundred: weights underflow, and partial results differ by more than floats can
// hold.
TEST(DecodeAttention, LargeScoresStayFinite) {
  PoisonedBatch batch(
      {.geometry = geometry_of(4, 2, 64, 9), .lens = {700, 64}, .sinks = true, .seed = 410});
  for (float& x : batch.q) x *= 60.0f;
  PlannedBatch planned(batch.options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(2);
  for (const std::string& variant : supported_variants()) {
    batch.launch.variant = variant;
    batch.forget_results();
    ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
    batch.expect_oracle(variant, 2e-3);
  }
}

TEST(DecodeAttention, LogSumExpInEveryOrder) {
  AttentionGeometry g = geometry_of(4, 2, 64, 3);
  g.max_query_tokens = 3;
  PoisonedBatch batch({.geometry = g, .lens = {10, 200}, .seed = 420});
  PlannedBatch planned(g, batch.plan_batch());
  const auto pool = make_pool_for_test(1);
  ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
  const std::vector<float> by_token = batch.lse;  // [tokens, H]
  const auto expected = [&](int b, int h, int t) {
    return by_token[static_cast<std::size_t>((b * 3 + t) * 4 + h)];
  };

  batch.launch.lse.request_stride = 4 * 3;  // [B, H, T]
  batch.launch.lse.token_stride = 1;
  batch.launch.lse.head_stride = 3;
  batch.forget_results();
  ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
  for (int b = 0; b < 2; ++b) {
    for (int h = 0; h < 4; ++h) {
      for (int t = 0; t < 3; ++t) {
        EXPECT_EQ(batch.lse[static_cast<std::size_t>((b * 4 + h) * 3 + t)], expected(b, h, t));
      }
    }
  }
  batch.launch.lse.size -= 1;
  EXPECT_EQ(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).code(),
            StatusCode::kInvalidArgument);
}

TEST(DecodeAttention, AnEmptyBatchDoesNothing) {
  PoisonedBatch batch({.geometry = geometry_of(4, 2, 64, 3), .lens = {}});
  PlannedBatch planned(batch.options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(2);
  EXPECT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
}

TEST(DecodeAttention, ThreadsAndRepetitionChangeNoBit) {
  AttentionGeometry g = geometry_of(6, 2, 128, 37);
  g.max_query_tokens = 2;
  PoisonedBatch batch({.geometry = g, .lens = {3000, 2, 900, 64, 0, 1025}, .seed = 430});
  PlannedBatch planned(g, batch.plan_batch());
  for (const std::string& variant : supported_variants()) {
    batch.launch.variant = variant;
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 4, 4}) {
      batch.forget_results();
      const auto pool = make_pool_for_test(threads);
      ASSERT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
      if (first.empty()) first = batch.out;
      ASSERT_EQ(batch.out, first) << variant << ", " << threads << " threads";
    }
  }
}

TEST(DecodeAttention, PageIdsAndRowsOutOfRangeAreClampedAndReported) {
  PoisonedBatch batch({.geometry = geometry_of(4, 2, 64, 4), .lens = {100, 40}, .seed = 440});
  PlannedBatch planned(batch.options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(2);
  AttentionReport report;
  batch.launch.report = &report;
  const auto row = static_cast<std::size_t>(batch.row_of[0]) *
                   static_cast<std::size_t>(batch.launch.pages.row_stride);
  for (const std::int32_t bad :
       {-1, 1 << 30, static_cast<std::int32_t>(batch.launch.kv.num_pages)}) {
    const std::int32_t good = std::exchange(batch.page_ids[row + 2], bad);
    const Status status = decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool);
    EXPECT_EQ(status.code(), StatusCode::kOutOfRange) << to_string(status);
    EXPECT_EQ(report.faults, std::uint32_t{kFaultPageId});
    batch.page_ids[row + 2] = good;
  }
  for (const std::int32_t bad : {-1, 1 << 30}) {
    const std::int32_t good = std::exchange(batch.row_of[1], bad);
    EXPECT_EQ(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).code(),
              StatusCode::kOutOfRange);
    EXPECT_NE(report.faults & kFaultPageRow, 0u);
    batch.row_of[1] = good;
  }
  const std::int32_t columns = std::exchange(batch.launch.pages.num_columns, 3);
  EXPECT_EQ(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).code(),
            StatusCode::kOutOfRange);
  EXPECT_NE(report.faults & kFaultPageRow, 0u);
  batch.launch.pages.num_columns = columns;
  EXPECT_TRUE(decode_attention(planned.plan(), batch.launch, planned.scratch(), *pool).ok());
  EXPECT_EQ(report.faults, 0u);
}

TEST(DecodeAttention, RefusesTensorsThatAreNotOfTheGeometry) {
  PoisonedBatch batch({.geometry = geometry_of(4, 2, 64, 4), .lens = {100, 40}, .seed = 450});
  PlannedBatch planned(batch.options.geometry, batch.plan_batch());
  const auto pool = make_pool_for_test(1);
  const AttentionLaunch good = batch.launch;
  const auto refused = [&](StatusCode code, const AttentionLaunch& launch) {
    const Status status = decode_attention(planned.plan(), launch, planned.scratch(), *pool);
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_TRUE(std::isnan(batch.out[0]));
  };
  auto launch = good;
  launch.q.num_heads = 8;
  refused(StatusCode::kPlanMismatch, launch);
  launch = good;
  launch.kv.num_kv_heads = 1;
  refused(StatusCode::kPlanMismatch, launch);
  launch = good;
  launch.kv.page_tokens = 32;
  refused(StatusCode::kPlanMismatch, launch);
  launch = good;
  launch.kv.type = KvType::kF16;
  refused(StatusCode::kPlanMismatch, launch);
  launch = good;
  launch.q.num_tokens = 1;
  refused(StatusCode::kInvalidArgument, launch);
  launch = good;
  launch.out.head_stride = 63;
  refused(StatusCode::kInvalidArgument, launch);
  launch = good;
  launch.kv.k_token_stride = -1;
  refused(StatusCode::kInvalidArgument, launch);
  launch = good;
  launch.score.scale = 0.0f;
  refused(StatusCode::kInvalidArgument, launch);
  launch = good;
  launch.pages.row_of = nullptr;
  launch.pages.num_rows = 1;
  refused(StatusCode::kInvalidArgument, launch);

  AttentionScratch scratch = planned.scratch();
  scratch.outputs = scratch.outputs.first(scratch.outputs.size() - 1);
  EXPECT_EQ(decode_attention(planned.plan(), good, scratch, *pool).code(),
            StatusCode::kInvalidArgument);
  scratch = planned.scratch();
  scratch.counters = scratch.counters.first(3);
  EXPECT_EQ(decode_attention(planned.plan(), good, scratch, *pool).code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace onebeat
