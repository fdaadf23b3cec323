// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "attention/cuda/prefill/prefill_checks_for_test.h"

namespace onebeat {
namespace {

using CudaPrefillTest = PrefillChecks;

AttentionGeometry prefill_geometry(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim,
                                   std::int32_t page_tokens, KvType type = KvType::kBF16) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = dim;
  g.page_tokens = page_tokens;
  g.kv_type = type;
  return g;
}

/// What there are kernels for.
struct Kind {
  KvType type = KvType::kBF16;
  std::int32_t head_dim = 0;
  std::int32_t min_page_tokens = 0;  ///< Of the variant that takes the smallest pages.
};

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Kind& kind) {
      return kind.type == variant.type && kind.head_dim == variant.head_dim;
    });
    if (found == all.end()) {
      all.push_back({variant.type, variant.head_dim, variant.min_page_tokens});
    } else {
      found->min_page_tokens = std::min(found->min_page_tokens, variant.min_page_tokens);
    }
  }
  return all;
}

TEST(CudaPrefillVariants, AreNamedOnceAndFitAMultiprocessor) {
  std::vector<std::string_view> names;
  for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
    names.push_back(variant.name);
    EXPECT_LE(variant.shared_bytes, 227 * 1024) << variant.name;
    EXPECT_NE(cuda::prefill_kernel(variant).function, nullptr);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_F(CudaPrefillTest, WholePromptsOfEverySizePageAndLayout) {
  const std::vector<std::int32_t> lens = {1, 63, 64, 65, 0, 128, 129, 193, 300};
  for (const auto& [type, dim, min_page] : kinds()) {
    for (const std::int32_t page : {1, 4, 8, 16, 64, 128, 256}) {
      if (page < min_page) continue;
      const bool runs = (page + dim / 64) % 2 == 0;
      check({.geometry = prefill_geometry(2, 1, dim, page, type),
             .lens = lens,
             .query_tokens = lens,
             .layout = runs ? KvLayout::kRuns : KvLayout::kNhd,
             .direct = !runs,
             .padded_rows = page == 64});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaPrefillTest, PartsOfPromptsBehindAPrefix) {
  for (const auto& [type, dim, min_page] : kinds()) {
    for (const std::int32_t page : {1, 16, 64}) {
      if (page < min_page) continue;
      check({.geometry = prefill_geometry(6, 2, dim, page, type),
             .lens = {500, 129, 0, 77, 31, 700},
             .query_tokens = {70, 1, 3, 77, 0, 140},
             .seed = 9});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaPrefillTest, WindowsChunksCapsSinksAndBothDirections) {
  unsigned seed = 20;
  for (const std::int32_t window : {-1, 0, 40, 150}) {
    for (const std::int32_t chunk : {0, 96}) {
      for (const bool causal : {true, false}) {
        const Kind kind = kinds()[seed % kinds().size()];
        AttentionGeometry g = prefill_geometry(
            4, 2, kind.head_dim, std::max(kind.min_page_tokens, seed % 4 == 0 ? 4 : 16), kind.type);
        g.window_left = window;
        g.chunk_tokens = chunk;
        g.causal = causal;
        BatchOptions options{.geometry = g, .lens = {310, 64, 231}, .query_tokens = {310, 30, 131}};
        options.soft_cap = seed % 3 == 0 ? 4.0f : 0.0f;
        options.sinks = seed % 2 == 0;
        options.seed = seed;
        SCOPED_TRACE("window " + std::to_string(window) + ", chunk " + std::to_string(chunk) +
                     ", causal " + std::to_string(causal));
        check(options);
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST_F(CudaPrefillTest, MoreRequestsThanLanesAndMoreTilesThanCtas) {
  check({.geometry = prefill_geometry(8, 2, 128, 16),
         .lens = std::vector<std::int32_t>(75, 41),
         .query_tokens = std::vector<std::int32_t>(75, 20)});
}

TEST_F(CudaPrefillTest, RandomBatches) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    const std::int32_t kv_heads = 1 << below(2);
    const Kind kind = kinds()[random() % kinds().size()];
    AttentionGeometry g =
        prefill_geometry(kv_heads * (1 + below(4)), kv_heads, kind.head_dim,
                         std::max(kind.min_page_tokens, 1 << below(9)), kind.type);
    if (below(3) == 0) g.window_left = below(300);
    if (below(4) == 0) g.chunk_tokens = 1 + below(400);
    g.causal = below(4) != 0;
    BatchOptions options{.geometry = g};
    for (std::int32_t b = 1 + below(4); b > 0; --b) {
      const std::int32_t len = 1 + (below(3) == 0 ? below(700) : below(200));
      options.lens.push_back(len);
      options.query_tokens.push_back(below(std::min(len, 250) + 1));
    }
    options.layout = below(2) == 0 ? KvLayout::kNhd : KvLayout::kRuns;
    options.direct = below(2) == 0;
    options.padded_rows = below(2) == 0;
    options.soft_cap = below(3) == 0 ? 10.0f : 0.0f;
    options.sinks = below(2) == 0;
    options.seed = seed;
    check(options);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaPrefillTest, TheForcedVariantIsTheOneThatRuns) {
  PoisonedBatch host(
      {.geometry = prefill_geometry(2, 1, 64, 64), .lens = {100}, .query_tokens = {100}});
  DevicePrefill device(host, stream());
  for (const std::string_view name : {"", "rows_d64"}) {
    const auto attention = value_or_fail(CudaPrefillAttention::create(host.options.geometry, name));
    EXPECT_EQ(attention.variant().name, name.empty() ? "boxes_d64" : name);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
    const Status status = attention.launch(device.batch(), device.launch(), stream());
    ASSERT_EQ(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
    ASSERT_TRUE(status.ok()) << to_string(status);
    cudaGraphNode_t node = nullptr;
    std::size_t nodes = 1;
    ASSERT_EQ(cudaGraphGetNodes(graph, &node, &nodes), cudaSuccess);
    EXPECT_EQ(nodes, 1u);
    cudaKernelNodeParams params = {};
    ASSERT_EQ(cudaGraphKernelNodeGetParams(node, &params), cudaSuccess);
    EXPECT_EQ(params.func, cuda::prefill_kernel(attention.variant()).function);
    (void)cudaGraphDestroy(graph);
  }
}

// One captured launch; lengths and query offsets change under it.
TEST_F(CudaPrefillTest, GraphServesEveryLaterBatch) {
  PoisonedBatch longest({.geometry = prefill_geometry(4, 2, 128, 16),
                         .lens = {300, 200, 100},
                         .query_tokens = {300, 200, 100}});
  DevicePrefill device(longest, stream());
  const auto attention = value_or_fail(CudaPrefillAttention::create(longest.options.geometry));
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  const Status status = attention.launch(device.batch(), device.launch(), stream());
  ASSERT_EQ(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
  ASSERT_TRUE(status.ok()) << to_string(status);
  cudaGraphExec_t replay = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
  const std::vector<std::vector<std::int32_t>> lens = {{300, 200, 100}, {17, 200, 0}, {300, 1, 99}};
  const std::vector<std::vector<std::int32_t>> begin = {
      {0, 300, 500, 600}, {0, 17, 27, 27}, {0, 200, 201, 300}};
  for (std::size_t i = 0; i < lens.size(); ++i) {
    ASSERT_TRUE(device.length_buffer().upload(lens[i], stream()).ok());
    ASSERT_TRUE(device.query_begin_buffer().upload(begin[i], stream()).ok());
    device.forget_results();
    ASSERT_EQ(cudaGraphLaunch(replay, stream()), cudaSuccess);
    longest.options.lens = lens[i];
    longest.query_begin = begin[i];
    for (std::size_t r = 0; r < lens[i].size(); ++r) {
      longest.options.query_tokens[r] = begin[i][r + 1] - begin[i][r];
    }
    device.expect(device.oracle_rows(), "batch " + std::to_string(i));
    if (HasFatalFailure()) return;
  }
  (void)cudaGraphExecDestroy(replay);
  (void)cudaGraphDestroy(graph);
}

// How a prompt is cut into parts, and what else is in the batch, does not change a bit.
TEST_F(CudaPrefillTest, PartsAndCompanyDoNotChangeBits) {
  for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
    const std::string_view name = variant.name;
    for (const std::int32_t window : {-1, 70}) {
      AttentionGeometry g = prefill_geometry(2, 1, variant.head_dim, 16, variant.type);
      g.window_left = window;
      PoisonedBatch host({.geometry = g, .lens = {333, 500}, .query_tokens = {333, 500}});
      DevicePrefill device(host, stream());
      const auto attention = value_or_fail(CudaPrefillAttention::create(g, name));
      const auto run = [&](CudaPrefillBatch batch, CudaAttentionLaunch launch,
                           const std::vector<std::int32_t>& begin,
                           const std::vector<std::int32_t>& lens, std::int64_t first_row) {
        ASSERT_TRUE(device.query_begin_buffer().upload(begin, stream()).ok());
        ASSERT_TRUE(device.length_buffer().upload(lens, stream()).ok());
        batch.requests = static_cast<std::int32_t>(lens.size());
        batch.query_tokens = begin.back();
        launch.q.data += first_row * launch.q.token_stride;
        launch.out.data += first_row * launch.out.token_stride;
        launch.q.num_tokens -= first_row;
        launch.out.num_tokens -= first_row;
        launch.lse.data = nullptr;
        const Status status = attention.launch(batch, launch, stream());
        ASSERT_TRUE(status.ok()) << to_string(status);
        ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
      };
      run(device.batch(), device.launch(), {0, 333, 833}, {333, 500}, 0);
      const std::vector<float> whole = device.output();
      device.forget_results();
      run(device.batch(), device.launch(), {0, 17}, {17}, 0);
      run(device.batch(), device.launch(), {0, 200}, {217}, 17);
      run(device.batch(), device.launch(), {0, 116, 616}, {333, 500}, 217);
      const std::vector<float> parts = device.output();
      ASSERT_EQ(device.faults(), 0u);
      for (std::size_t i = 0; i < whole.size(); ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(whole[i]), std::bit_cast<std::uint32_t>(parts[i]))
            << name << ", window " << window << ", element " << i;
      }
    }
  }
}

TEST_F(CudaPrefillTest, WrongPagesRowsAndBatchesAreClampedAndReported) {
  for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
    const std::string_view name = variant.name;
    SCOPED_TRACE(name);
    PoisonedBatch host({.geometry = prefill_geometry(2, 1, variant.head_dim, 16, variant.type),
                        .lens = {300, 100},
                        .query_tokens = {200, 100}});
    DevicePrefill device(host, stream());
    const auto attention = value_or_fail(CudaPrefillAttention::create(host.options.geometry, name));
    const auto faults_of = [&](const CudaPrefillBatch& batch) {
      device.faults() = 0;
      const Status status = attention.launch(batch, device.launch(), stream());
      EXPECT_TRUE(status.ok()) << to_string(status);
      EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
      return device.faults();
    };
    EXPECT_EQ(faults_of(device.batch()), 0u);

    CudaPrefillBatch narrow = device.batch();
    narrow.max_query_tokens = 150;
    EXPECT_EQ(faults_of(narrow), kFaultPlan);

    const auto with = [&](DeviceBuffer<std::int32_t>& buffer,
                          const std::vector<std::int32_t>& values) {
      EXPECT_TRUE(buffer.upload(values, stream()).ok());
      EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    };
    with(device.length_buffer(), {0x7fffffff, 100});
    EXPECT_EQ(faults_of(device.batch()) & kFaultPageRow, kFaultPageRow);
    with(device.length_buffer(), {-3, 50});
    EXPECT_EQ(faults_of(device.batch()), kFaultPlan);
    with(device.length_buffer(), {300, 100});
    with(device.query_begin_buffer(), {0, 200, 301});
    EXPECT_EQ(faults_of(device.batch()), kFaultPlan);
    with(device.query_begin_buffer(), {0x7fffffff, -5, 100});
    EXPECT_EQ(faults_of(device.batch()), kFaultPlan);
    with(device.query_begin_buffer(), {0, 200, 300});

    std::vector<std::int32_t> ids = host.page_ids;
    for (std::size_t i = 0; i < ids.size(); i += 2) ids[i] = i % 4 == 0 ? -1 : 0x7fffffff;
    with(device.page_buffer(), ids);
    EXPECT_EQ(faults_of(device.batch()), kFaultPageId);
  }
}

TEST_F(CudaPrefillTest, RefusesWhatDoesNotFitByName) {
  const AttentionGeometry g = prefill_geometry(4, 2, 128, 64);
  PoisonedBatch host({.geometry = g, .lens = {100}, .query_tokens = {100}});
  DevicePrefill device(host, stream());
  const auto attention = value_or_fail(CudaPrefillAttention::create(g));
  const auto refused = [&](StatusCode code, const CudaPrefillBatch& batch,
                           const CudaAttentionLaunch& launch, std::string_view word) {
    const Status status = attention.launch(batch, launch, stream());
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_NE(std::string_view(status.message()).find(word), std::string_view::npos)
        << to_string(status);
  };
  CudaAttentionLaunch launch = device.launch();
  launch.q.num_heads = 5;
  refused(StatusCode::kPlanMismatch, device.batch(), launch, "query has 5 heads");
  launch = device.launch();
  launch.kv.type = KvType::kF16;
  refused(StatusCode::kPlanMismatch, device.batch(), launch, "element type");
  launch = device.launch();
  launch.kv.k_token_stride += 4;
  refused(StatusCode::kInvalidArgument, device.batch(), launch, "multiple of 8");
  launch = device.launch();
  ++launch.out.data;
  refused(StatusCode::kInvalidArgument, device.batch(), launch, "16 bytes");
  launch = device.launch();
  launch.faults = nullptr;
  refused(StatusCode::kInvalidArgument, device.batch(), launch, "faults");
  CudaPrefillBatch batch = device.batch();
  batch.query_tokens = 101;
  refused(StatusCode::kInvalidArgument, batch, device.launch(), "the step has 101");
  batch = device.batch();
  batch.lens = nullptr;
  refused(StatusCode::kInvalidArgument, batch, device.launch(), "lengths");
  batch = device.batch();
  batch.requests = -1;
  refused(StatusCode::kOutOfRange, batch, device.launch(), "-1 requests");

  const auto create = [](AttentionGeometry wrong, std::string_view name = {}) {
    return CudaPrefillAttention::create(wrong, name).status().code();
  };
  EXPECT_EQ(create(g, "nonsense"), StatusCode::kUnsupported);
  EXPECT_EQ(create(g, "boxes_d64"), StatusCode::kUnsupported);
  AttentionGeometry wrong = prefill_geometry(4, 2, 64, 4);
  EXPECT_EQ(create(wrong, "boxes_d64"), StatusCode::kUnsupported);
  EXPECT_EQ(create(wrong), StatusCode::kOk);
  wrong = g;
  wrong.head_dim = wrong.head_dim_v = 80;
  EXPECT_EQ(create(wrong), StatusCode::kUnsupported);
  wrong = g;
  wrong.kv_type = KvType::kF32;
  EXPECT_EQ(create(wrong), StatusCode::kUnsupported);
  wrong = g;
  wrong.invariant_chunk_tokens = 64;
  EXPECT_EQ(create(wrong), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace onebeat
