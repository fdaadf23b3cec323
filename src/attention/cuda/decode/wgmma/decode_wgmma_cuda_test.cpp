// SPDX-License-Identifier: Apache-2.0
// More than 16 query rows: the wgmma kernels, against the oracle and against the CPU executing the
// same plan bytes.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "attention/cuda/decode/decode_checks_for_test.h"

namespace onebeat {
namespace {

AttentionGeometry geometry_of(std::int32_t heads, std::int32_t kv_heads, HeadKind kind,
                              std::int32_t page_tokens, std::int32_t query_tokens,
                              std::int32_t workers = 256) {
  AttentionGeometry g = decode_geometry(heads, kv_heads, kind, page_tokens, workers);
  g.max_query_tokens = query_tokens;
  return g;
}

class CudaDecodeWgmmaTest : public DecodeChecks {
 protected:
  void check(const BatchOptions& options, CostModel cost = {}) {
    DecodeChecks::check(options, cost, "wgmma_");
  }
};

/// Every head size and type.
class CudaDecodeWgmmaOfHeads : public CudaDecodeWgmmaTest,
                               public ::testing::WithParamInterface<HeadKind> {};
INSTANTIATE_TEST_SUITE_P(Heads, CudaDecodeWgmmaOfHeads, ::testing::ValuesIn(served_heads("wgmma_")),
                         test_name_of);

TEST_P(CudaDecodeWgmmaOfHeads, EdgeLengthsOfPagesAndTiles) {
  const HeadKind kind = GetParam();
  for (const std::int32_t page : {1, 4, 16, 64, 256}) {
    for (const KvLayout layout : {KvLayout::kNhd, KvLayout::kRuns}) {
      const AttentionGeometry g = geometry_of(16, 2, kind, page, 4);
      const std::int32_t n = g.tile_tokens;
      check({.geometry = g,
             .lens = {4, std::max(page - 1, 4), std::max(page, 4), page + 4, n - 1, n, n + 1, 0,
                      2 * n, 3 * n + 5, 299},
             .query_tokens = {4, 4, 4, 4, 4, 4, 4, 1, 4, 3, 2},
             .layout = layout,
             .direct = layout == KvLayout::kNhd});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CudaDecodeWgmmaOfHeads, QueryRowsFromOneToSeveralTiles) {
  const HeadKind kind = GetParam();
  for (const std::int32_t tokens : {1, 3, 5, 8, 16}) {
    for (const auto& [heads, kv_heads] :
         std::vector<std::pair<int, int>>{{3, 1}, {10, 2}, {17, 1}, {32, 1}}) {
      check({.geometry = geometry_of(heads, kv_heads, kind, tokens % 2 == 0 ? 16 : 1, tokens, 7),
             .lens = {200, 33}});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CudaDecodeWgmmaOfHeads, ShortRequestsOfSeveralQueryTokens) {
  const HeadKind kind = GetParam();
  for (const std::int32_t tokens : {1, 2, 5, 8, 16}) {
    BatchOptions options{.geometry = geometry_of(24, 2, kind, 2, tokens)};
    for (std::int32_t len = 0; len < 20; len += 1 + len / 6) {
      options.lens.push_back(len);
      options.query_tokens.push_back(std::min(std::max(len, 1), tokens));
    }
    check(options);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CudaDecodeWgmmaOfHeads, LongRequestsSplitOverAllWorkers) {
  check({.geometry = geometry_of(8, 1, GetParam(), 64, 8), .lens = {4097}});
  check({.geometry = geometry_of(32, 2, GetParam(), 1, 2), .lens = {4097, 70}});
  if (HasFatalFailure()) return;
  check({.geometry = geometry_of(4, 1, GetParam(), 64, 5, 264), .lens = {40000, 5}});
}

TEST_F(CudaDecodeWgmmaTest, AnyNumberOfWorkersGivesTheSame) {
  for (const std::int32_t workers : {1, 2, 5, 33, 132, 264, 1000}) {
    for (const HeadKind kind : {HeadKind{64}, HeadKind{128}}) {
      check({.geometry = geometry_of(16, 2, kind, 16, 8, workers), .lens = {1000, 64, 8, 2049, 9}});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CudaDecodeWgmmaOfHeads, WindowsChunksCapsAndSinks) {
  const HeadKind kind = GetParam();
  AttentionGeometry g = geometry_of(24, 2, kind, 16, 5);
  g.window_left = 100;
  check({.geometry = g, .lens = {50, 101, 1000}, .soft_cap = 5.0f, .sinks = true});
  g.window_left = 0;
  check({.geometry = g, .lens = {50, 129, 1000}, .query_tokens = {3, 5, 2}, .padded_rows = true});
  g.window_left = -1;
  g.chunk_tokens = 96;
  check({.geometry = g, .lens = {50, 97, 1000}, .query_tokens = {0, 5, 4}, .sinks = true});
  g.causal = false;
  check({.geometry = g, .lens = {50, 97, 1000}});
  if (HasFatalFailure()) return;
}

TEST_P(CudaDecodeWgmmaOfHeads, RandomBatches) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    const std::int32_t kv_heads = 1 << below(3);
    AttentionGeometry g = geometry_of(kv_heads * (1 + below(20)), kv_heads, GetParam(),
                                      1 << below(8), 1 + below(16), 1 + below(400));
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

// Where one pass over the cache does for both families, heads of 128 go over to wgmma at fewer
// rows.
TEST_F(CudaDecodeWgmmaTest, IsTheDefaultWhereItIsFasterAndRunsWhenForced) {
  struct Case {
    std::int32_t heads, dim, page, tokens;
    std::string_view name, expected;
    KvType type = KvType::kBF16;
  };
  for (const Case& c :
       {Case{8, 128, 64, 2, "", "mma_d128_r8"}, Case{6, 128, 64, 3, "", "wgmma_d128"},
        Case{8, 128, 64, 4, "mma", "mma_d128_r16"}, Case{8, 128, 64, 5, "", "wgmma_d128"},
        Case{64, 128, 64, 4, "", "wgmma_d128"}, Case{16, 128, 8, 4, "", "wgmma_d128_small_pages"},
        Case{16, 64, 32, 2, "", "mma_d64_r16"}, Case{16, 64, 16, 2, "", "mma_d64_r16_small_pages"},
        Case{34, 64, 32, 1, "", "wgmma_d64"}, Case{32, 64, 32, 8, "", "wgmma_d64"},
        Case{32, 64, 16, 8, "", "wgmma_d64_small_pages"}, Case{32, 64, 32, 8, "mma", "mma_d64_r16"},
        Case{4, 128, 64, 1, "wgmma", "wgmma_d128"},
        Case{4, 64, 64, 1, "wgmma_d64_small_pages", "wgmma_d64_small_pages"},
        Case{8, 128, 64, 1, "", "mma_d128_r8_f16", KvType::kF16},
        Case{8, 128, 8, 1, "mma_d128_r16_f16_small_pages", "mma_d128_r16_f16_small_pages",
             KvType::kF16},
        Case{32, 64, 64, 8, "", "wgmma_d64_f16", KvType::kF16}}) {
    PoisonedBatch host(
        {.geometry = geometry_of(c.heads, 2, {c.dim, c.type}, c.page, c.tokens), .lens = {100}});
    DeviceBatch device(host, stream());
    const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry, c.name));
    EXPECT_EQ(attention.variant().name, c.expected);
    expect_runs(attention, device);
    if (HasFatalFailure()) return;
  }
}

// Lengths, drafted tokens and num_active change under one captured launch.
TEST_F(CudaDecodeWgmmaTest, GraphServesEveryLaterStep) {
  constexpr std::int32_t kMost = 9;
  const AttentionGeometry g = geometry_of(16, 2, {128}, 16, 8, 64);
  PoisonedBatch host({.geometry = g, .lens = std::vector<std::int32_t>(kMost, 600)});
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(g));
  ASSERT_EQ(attention.variant().name, "wgmma_d128");
  const auto graph = value_of(CudaGraph::capture(stream(), [&](cudaStream_t s) {
    return attention.launch(device.plan(), device.launch(), device.scratch(), s);
  }));
  const auto planner = value_of(Planner::create(g, {}, {kMost, 600}));
  std::vector<PlanHeader> bytes(planner.plan_bytes() / sizeof(PlanHeader) + 1);
  const std::span<std::byte> plan_bytes =
      std::as_writable_bytes(std::span(bytes)).first(planner.plan_bytes());
  const auto pool = make_pool_for_test(2);
  const ScratchSize size = planner.scratch_size();
  std::vector<float> outputs(static_cast<std::size_t>(size.output_floats));
  std::vector<float> stats(static_cast<std::size_t>(size.stats_floats));
  std::vector<std::uint32_t> counters(static_cast<std::size_t>(size.counters), 0);
  std::mt19937 random(11);
  std::vector<std::int32_t> lens;
  std::vector<std::int32_t> tokens;
  for (int step = 0; step < 120; ++step) {
    for (std::int32_t& len : lens)
      len = std::min(len + 1 + static_cast<std::int32_t>(random() % 8), 600);
    if (!lens.empty() && random() % 5 == 0)
      lens.erase(lens.begin() + static_cast<std::ptrdiff_t>(random() % lens.size()));
    if (lens.size() < kMost && random() % 3 == 0)
      lens.push_back(8 + static_cast<std::int32_t>(random() % 500));
    tokens.clear();
    std::size_t live = 0;
    for (std::size_t i = 0; i < lens.size(); ++i) {
      tokens.push_back(1 + static_cast<std::int32_t>(random() % 8));
      live += static_cast<std::size_t>(tokens.back());
    }
    const PlanView plan = value_of(planner.make_plan({lens, tokens}, plan_bytes));
    ASSERT_TRUE(device.plan_buffer().upload(plan_bytes, stream()).ok());
    device.forget_results();
    ASSERT_TRUE(graph.launch(stream()).ok());
    host.forget_results();
    const Status status = decode_attention(plan, host.launch, {outputs, stats, counters}, *pool);
    ASSERT_TRUE(status.ok()) << to_string(status);
    const std::vector<float> out = device.output();
    live *= static_cast<std::size_t>(host.launch.out.token_stride);
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

TEST_F(CudaDecodeWgmmaTest, SanitizerFaultsAreReportedAndNothingIsTouched) {
  PoisonedBatch host({.geometry = geometry_of(16, 2, {128}, 16, 4), .lens = {1000, 20}});
  AttentionGeometry other = host.options.geometry;
  other.window_left = 10;
  const PlannedBatch foreign(other, host.plan_batch());
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry, "wgmma"));
  ASSERT_TRUE(device.plan_buffer().upload(foreign.plan().bytes(), stream()).ok());
  ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
  for (const float value : device.output()) ASSERT_TRUE(std::isnan(value));
  EXPECT_EQ(device.faults(), static_cast<std::uint32_t>(kFaultPlan));

  DeviceBatch wild(host, stream());
  ASSERT_TRUE(wild.page_buffer().fill_bytes(0x7f, stream()).ok());
  ASSERT_TRUE(attention.launch(wild.plan(), wild.launch(), wild.scratch(), stream()).ok());
  (void)wild.output();
  EXPECT_EQ(wild.faults(), static_cast<std::uint32_t>(kFaultPageId));

  // Rows and columns that the page map lacks: what a length that outgrew its table would read.
  DeviceBatch narrow(host, stream());
  for (const bool rows : {false, true}) {
    CudaAttentionLaunch launch = narrow.launch();
    (rows ? launch.pages.num_rows : launch.pages.num_columns) = 1;
    narrow.faults() = 0;
    ASSERT_TRUE(attention.launch(narrow.plan(), launch, narrow.scratch(), stream()).ok());
    (void)narrow.output();
    EXPECT_NE(narrow.faults() & kFaultPageRow, 0u);
  }
}

}  // namespace
}  // namespace onebeat
