// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "attention/cuda/decode/decode_checks_for_test.h"
#include "attention/cuda/decode/decode_kernels.h"

namespace onebeat {
namespace {

class CudaDecodeTest : public DecodeChecks {
 protected:
  void check(const BatchOptions& options, CostModel cost = {}) {
    DecodeChecks::check(options, cost, "");
  }
};

/// Every head size and type.
class CudaDecodeOfHeads : public CudaDecodeTest, public ::testing::WithParamInterface<HeadKind> {};
INSTANTIATE_TEST_SUITE_P(Heads, CudaDecodeOfHeads, ::testing::ValuesIn(served_heads()),
                         test_name_of);

std::vector<std::int32_t> edge_lengths(std::int32_t page, std::int32_t tile) {
  return {0,        1,        std::max(page - 1, 1), page, page + 1, tile - 1, tile,
          tile + 1, 2 * tile, 3 * tile + 5,          0,    299};
}

TEST(CudaAttentionVariants, AreNamedOnceAndFitTwiceIntoAMultiprocessor) {
  std::vector<std::string_view> names;
  for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
    names.push_back(variant.name);
    EXPECT_LE(variant.shared_bytes, 113 * 1024) << variant.name;
    EXPECT_NE(cuda::decode_function(variant), nullptr);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_P(CudaDecodeOfHeads, EdgeLengthsOfPagesAndTiles) {
  const HeadKind kind = GetParam();
  for (const std::int32_t page : {1, 2, 16, 64, 128}) {
    for (const KvLayout layout : {KvLayout::kNhd, KvLayout::kRuns}) {
      const AttentionGeometry g = decode_geometry(8, 2, kind, page);
      check({.geometry = g,
             .lens = edge_lengths(page, g.tile_tokens),
             .layout = layout,
             .direct = layout == KvLayout::kNhd});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CudaDecodeOfHeads, SanitizerFewAndManyQueryRowsWithAnyPages) {
  for (const std::int32_t page : {1, 16}) {
    check({.geometry = decode_geometry(3, 3, GetParam(), page), .lens = {200, 33}});
    check({.geometry = decode_geometry(17, 1, GetParam(), page), .lens = {200, 33}});
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaDecodeOfHeads, HeadCountsFromOneQueryRowToManyTiles) {
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{
           {3, 3}, {7, 1}, {8, 1}, {9, 1}, {16, 1}, {34, 2}, {71, 1}}) {
    check({.geometry = decode_geometry(heads, kv_heads, GetParam(), 16), .lens = {200, 33}});
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaDecodeOfHeads, LongRequestsSplitOverAllWorkers) {
  check({.geometry = decode_geometry(4, 1, GetParam(), 64), .lens = {4097}});
  if (HasFatalFailure()) return;
  check({.geometry = decode_geometry(2, 1, GetParam(), 64, 264), .lens = {40000, 5}});
}

TEST_F(CudaDecodeTest, AnyNumberOfWorkersGivesTheSame) {
  for (const std::int32_t workers : {1, 2, 5, 33, 132, 264, 1000}) {
    check({.geometry = decode_geometry(8, 2, 128, 16, workers), .lens = {1000, 64, 0, 2049, 7}});
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaDecodeOfHeads, SanitizerWindowsChunksCapsSinksAndSeveralQueryTokens) {
  const HeadKind kind = GetParam();
  AttentionGeometry g = decode_geometry(8, 2, kind, 16);
  g.window_left = 100;
  check({.geometry = g, .lens = {50, 101, 1000}, .soft_cap = 5.0f, .sinks = true});
  g.max_query_tokens = 8;
  check({.geometry = g, .lens = {50, 8, 1000}, .query_tokens = {3, 8, 8}, .padded_rows = true});
  g.window_left = -1;
  g.chunk_tokens = 96;
  check({.geometry = g, .lens = {50, 97, 1000}, .query_tokens = {0, 5, 8}, .sinks = true});
  g.causal = false;
  check({.geometry = g, .lens = {50, 97, 1000}});
  if (HasFatalFailure()) return;
}

TEST_P(CudaDecodeOfHeads, RandomBatches) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    const std::int32_t kv_heads = 1 << below(3);
    AttentionGeometry g = decode_geometry(kv_heads * (1 + below(12)), kv_heads, GetParam(),
                                          1 << below(8), 1 + below(400));
    g.max_query_tokens = 1 + below(16);
    if (below(3) == 0) g.window_left = below(300);
    if (below(4) == 0) g.chunk_tokens = 1 + below(500);
    g.causal = below(4) != 0;
    BatchOptions options{.geometry = g};
    for (std::int32_t b = 1 + below(6); b > 0; --b) {
      options.lens.push_back(16 + (below(4) == 0 ? below(2500) : below(150)));
      options.query_tokens.push_back(below(g.max_query_tokens + 1));
    }
    options.layout = below(2) == 0 ? KvLayout::kNhd : KvLayout::kRuns;
    options.direct = below(2) == 0;
    options.padded_rows = below(2) == 0;
    options.soft_cap = below(3) == 0 ? 10.0f : 0.0f;
    options.sinks = below(2) == 0;
    options.seed = seed;
    CostModel cost;
    cost.min_tiles = static_cast<std::uint32_t>(1 + below(3));
    check(options, cost);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaDecodeTest, TheForcedVariantIsTheOneThatRuns) {
  PoisonedBatch host({.geometry = decode_geometry(8, 2, 128, 64), .lens = {100}});
  DeviceBatch device(host, stream());
  for (const std::string_view name : {"", "mma_d128_r16", "mma_d128_r8_small_pages"}) {
    const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry, name));
    EXPECT_EQ(attention.variant().name, name.empty() ? "mma_d128_r8" : name);
    expect_runs(attention, device);
    if (HasFatalFailure()) return;
  }
}

// Lengths and num_active change under one captured launch; the CPU executes the same plan bytes.
TEST_F(CudaDecodeTest, GraphServesEveryLaterStep) {
  for (const std::int32_t window : {-1, 70}) {
    constexpr std::int32_t kMost = 12;
    AttentionGeometry g = decode_geometry(8, 2, 64, 16, 64);
    PoisonedBatch host({.geometry = g, .lens = std::vector<std::int32_t>(kMost, 400)});
    g.window_left = window;
    host.options.geometry = g;
    DeviceBatch device(host, stream());
    const auto attention = value_of(CudaDecodeAttention::create(g));
    const auto graph = value_of(CudaGraph::capture(stream(), [&](cudaStream_t s) {
      return attention.launch(device.plan(), device.launch(), device.scratch(), s);
    }));
    EXPECT_EQ(graph.kernel_nodes(), 1);
    const auto planner = value_of(Planner::create(g, {}, {kMost, 400}));
    std::vector<PlanHeader> bytes(planner.plan_bytes() / sizeof(PlanHeader) + 1);
    const std::span<std::byte> plan_bytes =
        std::as_writable_bytes(std::span(bytes)).first(planner.plan_bytes());
    const auto pool = make_pool_for_test(2);
    const ScratchSize size = planner.scratch_size();
    std::vector<float> outputs(static_cast<std::size_t>(size.output_floats));
    std::vector<float> stats(static_cast<std::size_t>(size.stats_floats));
    std::vector<std::uint32_t> counters(static_cast<std::size_t>(size.counters), 0);
    std::mt19937 random(7);
    std::vector<std::int32_t> lens;
    for (int step = 0; step < 300; ++step) {
      for (std::int32_t& len : lens) len = std::min(len + 1, 400);
      if (!lens.empty() && random() % 5 == 0)
        lens.erase(lens.begin() + static_cast<std::ptrdiff_t>(random() % lens.size()));
      if (lens.size() < kMost && random() % 3 == 0)
        lens.push_back(static_cast<std::int32_t>(random() % 380));
      const PlanView plan = value_of(planner.make_plan({lens}, plan_bytes));
      ASSERT_TRUE(device.plan_buffer().upload(plan_bytes, stream()).ok());
      device.forget_results();
      ASSERT_TRUE(graph.launch(stream()).ok());
      host.forget_results();
      AttentionLaunch cpu = host.launch;
      const Status status = decode_attention(plan, cpu, {outputs, stats, counters}, *pool);
      ASSERT_TRUE(status.ok()) << to_string(status);
      const std::vector<float> out = device.output();
      const std::size_t live = lens.size() * static_cast<std::size_t>(cpu.out.token_stride);
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (i < live) {
          ASSERT_NEAR(out[i], host.out[i], 2e-2) << "step " << step << ", element " << i;
        } else {
          ASSERT_TRUE(std::isnan(out[i])) << "step " << step << " wrote a row beyond its requests";
        }
      }
      ASSERT_EQ(device.faults(), 0u);
    }
  }
}

TEST_F(CudaDecodeTest, RefusesPlansAndTensorsOfAnotherGeometry) {
  PoisonedBatch host({.geometry = decode_geometry(8, 8, 128, 16), .lens = {100, 20}});
  DeviceBatch device(host, stream());
  const AttentionGeometry g = host.options.geometry;
  const auto attention = value_of(CudaDecodeAttention::create(g));
  const auto refusal = [&](const CudaPlan& plan, const CudaAttentionLaunch& launch) {
    return attention.launch(plan, launch, device.scratch(), stream()).code();
  };
  // The planner counted the heads of one rank of eight, the kernel those of the whole model.
  AttentionGeometry other = g;
  other.num_heads = other.num_kv_heads = 1;
  CudaPlan plan = device.plan();
  plan.stamp = plan_stamp(other);
  EXPECT_EQ(refusal(plan, device.launch()), StatusCode::kPlanMismatch);
  for (const auto& change : std::vector<void (*)(AttentionGeometry&)>{
           [](AttentionGeometry& x) { x.page_tokens *= 2; },
           [](AttentionGeometry& x) { x.window_left = 9; },
           [](AttentionGeometry& x) { x.max_query_tokens = 2; },
           [](AttentionGeometry& x) { x.workers += 1; }}) {
    other = g;
    change(other);
    plan = device.plan();
    plan.stamp = plan_stamp(other);
    plan.workers = other.workers;
    EXPECT_EQ(refusal(plan, device.launch()), StatusCode::kPlanMismatch);
  }
  CudaAttentionLaunch launch = device.launch();
  launch.kv.num_kv_heads = 1;
  EXPECT_EQ(refusal(device.plan(), launch), StatusCode::kPlanMismatch);
  launch = device.launch();
  launch.q.num_heads = 4;
  EXPECT_EQ(refusal(device.plan(), launch), StatusCode::kPlanMismatch);
  launch = device.launch();
  launch.faults = nullptr;
  EXPECT_EQ(refusal(device.plan(), launch), StatusCode::kInvalidArgument);
  launch = device.launch();
  launch.q.data += 1;
  EXPECT_EQ(refusal(device.plan(), launch), StatusCode::kInvalidArgument);
  launch = device.launch();
  launch.kv.k_token_stride += 4;
  EXPECT_EQ(refusal(device.plan(), launch), StatusCode::kInvalidArgument);
  EXPECT_EQ(attention.launch(device.plan(), device.launch(), {}, stream()).code(),
            StatusCode::kInvalidArgument);

  EXPECT_EQ(CudaDecodeAttention::create(g, "mma_d64_r8").status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(CudaDecodeAttention::create(g, "no_such").status().code(), StatusCode::kUnsupported);
  other = g;
  other.tile_tokens = 32;
  EXPECT_EQ(CudaDecodeAttention::create(other).status().code(), StatusCode::kPlanMismatch);
  other = g;
  other.head_dim = other.head_dim_v = 80;
  EXPECT_EQ(CudaDecodeAttention::create(other).status().code(), StatusCode::kUnsupported);
  for (const float value : device.output()) ASSERT_TRUE(std::isnan(value));
}

// Inside a graph nobody asks the host: the bytes themselves are of another geometry.
TEST_F(CudaDecodeTest, SanitizerRecordsOfAnotherGeometryAreNotExecuted) {
  PoisonedBatch host({.geometry = decode_geometry(8, 2, 128, 16), .lens = {1000, 20}});
  AttentionGeometry other = host.options.geometry;
  other.window_left = 10;
  const PlannedBatch foreign(other, host.plan_batch());
  DeviceBatch device(host, stream());
  ASSERT_TRUE(device.plan_buffer().upload(foreign.plan().bytes(), stream()).ok());
  const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry));
  ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
  for (const float value : device.output()) ASSERT_TRUE(std::isnan(value));
  EXPECT_EQ(device.faults(), static_cast<std::uint32_t>(kFaultPlan));
}

TEST_F(CudaDecodeTest, SanitizerPageIdsAndColumnsOutOfRangeAreClampedAndReported) {
  for (const std::int32_t page : {1, 16}) {
    PoisonedBatch host({.geometry = decode_geometry(8, 2, 128, page), .lens = {1000, 20}});
    DeviceBatch device(host, stream());
    const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry));
    CudaAttentionLaunch launch = device.launch();
    // A page map too narrow for the length: what a length that outgrew its table would do.
    launch.pages.num_columns = 5;
    ASSERT_TRUE(attention.launch(device.plan(), launch, device.scratch(), stream()).ok());
    (void)device.output();
    EXPECT_TRUE((device.faults() & kFaultPageRow) != 0);
    device.faults() = 0;
    launch = device.launch();
    launch.pages.num_rows = 1;
    ASSERT_TRUE(attention.launch(device.plan(), launch, device.scratch(), stream()).ok());
    (void)device.output();
    EXPECT_TRUE((device.faults() & kFaultPageRow) != 0);
    device.faults() = 0;
    ASSERT_TRUE(device.page_buffer().fill_bytes(0x7f, stream()).ok());
    ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
    (void)device.output();
    EXPECT_EQ(device.faults(), static_cast<std::uint32_t>(kFaultPageId));
  }
}

}  // namespace
}  // namespace onebeat
