// SPDX-License-Identifier: Apache-2.0
// Batch-invariant mode on the device: right, and the same bits alone and in company.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "attention/cuda/decode/decode_checks_for_test.h"
#include "attention/same_request_for_test.h"

namespace onebeat {
namespace {

AttentionGeometry invariant_geometry(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim,
                                     std::int32_t page, std::int32_t chunk,
                                     std::int32_t workers = 256) {
  AttentionGeometry g = decode_geometry(heads, kv_heads, dim, page, workers);
  g.invariant_chunk_tokens = chunk;
  return g;
}

/// Output and log-sum-exp of one launch.
struct Results {
  std::vector<float> out, lse;
};

class CudaInvariantTest : public DecodeChecks {
 protected:
  Results run(PoisonedBatch& host, std::string_view variant, CostModel cost = {}) {
    DeviceBatch device(host, stream(), cost);
    const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry, variant));
    const Status status =
        attention.launch(device.plan(), device.launch(), device.scratch(), stream());
    EXPECT_TRUE(status.ok()) << to_string(status);
    Results results{device.output(), device.log_sum_exp()};
    EXPECT_EQ(device.faults(), 0u);
    return results;
  }

  /// The token has the same bits in both.
  static void expect_same(const PoisonedBatch& a, const Results& in_a, std::int64_t a_token,
                          const PoisonedBatch& b, const Results& in_b, std::int64_t b_token,
                          const std::string& what) {
    const AttentionGeometry& g = a.options.geometry;
    for (std::int32_t head = 0; head < g.num_heads; ++head) {
      const auto place = [head](const PoisonedBatch& x, std::int64_t token) {
        return static_cast<std::size_t>(token * x.launch.out.token_stride +
                                        head * x.launch.out.head_stride);
      };
      ASSERT_EQ(std::memcmp(&in_a.out[place(a, a_token)], &in_b.out[place(b, b_token)],
                            static_cast<std::size_t>(g.head_dim) * sizeof(float)),
                0)
          << what << ", head " << head;
      const auto lse = [&](std::int64_t token) {
        return static_cast<std::size_t>(token * g.num_heads + head);
      };
      ASSERT_EQ(std::bit_cast<std::uint32_t>(in_a.lse[lse(a_token)]),
                std::bit_cast<std::uint32_t>(in_b.lse[lse(b_token)]))
          << what << ", log-sum-exp of head " << head;
    }
  }

  static std::vector<std::string_view> variants_for(const AttentionGeometry& g) {
    std::vector<std::string_view> names;
    for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
      if (variant.batch_invariant && variant.head_dim == g.head_dim &&
          variant.min_page_tokens <= g.page_tokens) {
        names.push_back(variant.name);
      }
    }
    return names;
  }
};

TEST_F(CudaInvariantTest, SanitizerAgreesWithTheOracle) {
  for (const std::int32_t dim : {64, 128}) {
    for (const std::int32_t chunk : {128, 384}) {
      check({.geometry = invariant_geometry(8, 2, dim, 16, chunk),
             .lens = {0, 1, 127, 128, 129, 300, 1025}},
            {}, "");
      AttentionGeometry g = invariant_geometry(12, 2, dim, 1, chunk, 40);
      g.window_left = 200;
      g.max_query_tokens = 3;
      check({.geometry = g, .lens = {900, 3, 700}, .query_tokens = {3, 1, 2}, .sinks = true}, {},
            "");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaInvariantTest, LongRequestsOverAnyNumberOfWorkers) {
  for (const std::int32_t workers : {1, 3, 33, 256, 1000}) {
    check(
        {.geometry = invariant_geometry(4, 1, 128, 64, 128, workers), .lens = {9000, 64, 0, 2049}},
        {}, "");
    check({.geometry = invariant_geometry(4, 1, 64, 64, 256, workers), .lens = {20011, 5}}, {}, "");
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaInvariantTest, RandomBatches) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    const std::int32_t kv_heads = 1 << below(3);
    AttentionGeometry g =
        invariant_geometry(kv_heads * (1 + below(12)), kv_heads, below(2) == 0 ? 64 : 128,
                           1 << below(8), 128 * (1 + below(3)), 1 + below(400));
    g.max_query_tokens = 1 + below(8);
    if (below(3) == 0) g.window_left = below(800);
    if (below(4) == 0) g.chunk_tokens = 1 + below(900);
    BatchOptions options{.geometry = g};
    for (std::int32_t b = 1 + below(6); b > 0; --b) {
      options.lens.push_back(below(4) == 0 ? 8 + below(4000) : 8 + below(150));
      options.query_tokens.push_back(below(g.max_query_tokens + 1));
    }
    options.layout = below(2) == 0 ? KvLayout::kNhd : KvLayout::kRuns;
    options.direct = below(2) == 0;
    options.padded_rows = below(2) == 0;
    options.soft_cap = below(3) == 0 ? 10.0f : 0.0f;
    options.sinks = below(2) == 0;
    options.seed = seed;
    CostModel cost;
    cost.segment_overhead = static_cast<std::uint32_t>(1 + below(256));
    check(options, cost, "");
    if (HasFatalFailure()) return;
  }
}

/// Parts of one test, by the first seed.
class CudaInvariantCompanyTest : public CudaInvariantTest,
                                 public ::testing::WithParamInterface<unsigned> {};

TEST_P(CudaInvariantCompanyTest, CompanyAndWorkersChangeNoBit) {
  for (unsigned seed = GetParam(); seed < GetParam() + 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    AttentionGeometry g = invariant_geometry(2 * (1 + below(8)), 2, below(2) == 0 ? 64 : 128,
                                             1 << below(7), 128 * (1 + below(2)), 1 + below(300));
    if (below(2) == 0) g.window_left = below(2000);
    if (below(4) == 0) g.chunk_tokens = 1 + below(1500);
    g.max_query_tokens = below(3) == 0 ? 1 + below(8) : 1;
    const std::int32_t len = g.max_query_tokens + below(6000);
    PoisonedBatch alone({.geometry = g,
                         .lens = {len},
                         .layout = KvLayout::kNhd,
                         .soft_cap = below(4) == 0 ? 20.0f : 0.0f,
                         .sinks = true,
                         .seed = seed});
    BatchOptions options = alone.options;
    options.geometry.workers = 1 + below(600);
    options.lens.clear();
    options.query_tokens.clear();
    const auto place = static_cast<std::size_t>(below(6));
    for (std::size_t r = 0; r < 6; ++r) {
      options.lens.push_back(r == place ? len : g.max_query_tokens + below(2500));
    }
    options.seed = seed + 1000;
    PoisonedBatch together(options);
    copy_request(alone, 0, together, place);
    together.sinks = alone.sinks;  // they belong to the layer, not to the batch
    together.launch.score.sinks = together.sinks.data();
    CostModel cost;
    cost.segment_overhead = static_cast<std::uint32_t>(1 + below(256));
    for (const std::string_view variant : variants_for(g)) {
      const Results one = run(alone, variant);
      const Results all = run(together, variant, cost);
      for (std::int32_t t = 0; t < g.max_query_tokens; ++t) {
        expect_same(alone, one, t, together, all, together.query_begin[place] + t,
                    std::string(variant) + ", length " + std::to_string(len) + ", W " +
                        std::to_string(g.workers) + " and " +
                        std::to_string(options.geometry.workers));
        if (HasFatalFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CudaInvariantCompanyTest, ::testing::Values(1, 7, 13, 19));

// Drafted tokens verified together have the bits that they have one at a time.
TEST_F(CudaInvariantTest, QueryTokensOfAStepChangeNoBit) {
  for (const std::int32_t dim : {64, 128}) {
    for (const std::int32_t window : {-1, 90}) {
      for (const std::int32_t len : {8, 131, 260, 517, 1030}) {
        AttentionGeometry g = invariant_geometry(6, 2, dim, 16, 128);
        g.max_query_tokens = 8;
        g.window_left = window;
        PoisonedBatch together({.geometry = g, .lens = {len}, .seed = 5});
        for (const std::string_view variant : variants_for(g)) {
          const Results all = run(together, variant);
          for (std::int32_t t = 0; t < 8; ++t) {
            PoisonedBatch alone(
                {.geometry = g, .lens = {len - 7 + t}, .query_tokens = {1}, .seed = 6});
            alone.k = together.k;
            alone.v = together.v;
            alone.launch.kv = together.launch.kv;
            alone.page_ids = together.page_ids;
            alone.row_of = together.row_of;
            alone.launch.pages = together.launch.pages;
            std::copy_n(together.q.begin() + t * together.launch.q.token_stride,
                        together.launch.q.token_stride, alone.q.begin());
            const Results one = run(alone, variant);
            expect_same(together, all, t, alone, one, 0,
                        std::string(variant) + ", length " + std::to_string(len) + ", token " +
                            std::to_string(t));
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_F(CudaInvariantTest, TheModeOfTheGeometryChoosesTheKernel) {
  PoisonedBatch host({.geometry = invariant_geometry(8, 2, 128, 64, 128), .lens = {100}});
  DeviceBatch device(host, stream());
  for (const std::string_view name :
       {"", "mma_d128_r8_small_pages_invariant", "wgmma_d128_invariant", "wgmma"}) {
    const auto attention = value_of(CudaDecodeAttention::create(host.options.geometry, name));
    EXPECT_EQ(attention.variant().name, name.empty()      ? "mma_d128_r8_invariant"
                                        : name == "wgmma" ? "wgmma_d128_invariant"
                                                          : name);
    expect_runs(attention, device);
    if (HasFatalFailure()) return;
  }
}

TEST(CudaInvariantRefusals, KernelsOfTheOtherModeAndScratchOfTooManyChunks) {
  AttentionGeometry g = invariant_geometry(8, 2, 128, 64, 128);
  EXPECT_EQ(CudaDecodeAttention::create(g, "mma_d128_r8").status().code(),
            StatusCode::kUnsupported);
  g.invariant_chunk_tokens = 0;
  EXPECT_EQ(CudaDecodeAttention::create(g, "mma_d128_r8_invariant").status().code(),
            StatusCode::kUnsupported);
}

TEST_F(CudaInvariantTest, ScratchOfMoreChunksThanKernelsMergeIsRefused) {
  const AttentionGeometry g = invariant_geometry(8, 2, 128, 64, 128, 4);
  PoisonedBatch host({.geometry = g, .lens = {100}});
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(g));
  const ScratchSize fits = value_of(Planner::create(g, {}, {1, 4096 * 128})).scratch_size();
  const ScratchSize exceeds = value_of(Planner::create(g, {}, {1, 4096 * 128 + 1})).scratch_size();
  ASSERT_EQ(fits.nodes_per_slot, 12);
  ASSERT_EQ(exceeds.nodes_per_slot, 13);
  const auto scratch = [&](const ScratchSize& size) {
    AttentionScratch of = device.scratch();
    of.outputs = {of.outputs.data(), static_cast<std::size_t>(size.output_floats)};
    of.stats = {of.stats.data(), static_cast<std::size_t>(size.stats_floats)};
    return of;
  };
  const Status status =
      attention.launch(device.plan(), device.launch(), scratch(exceeds), stream());
  EXPECT_EQ(status.code(), StatusCode::kOutOfRange) << to_string(status);
  for (const float value : device.output()) ASSERT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace onebeat
