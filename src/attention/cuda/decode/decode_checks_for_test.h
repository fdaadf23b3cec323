// SPDX-License-Identifier: Apache-2.0
// What tests of decode kernels share: a Hopper GPU, and a batch compared with the oracle and with
// the CPU executing the same plan bytes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/device_batch_for_test.h"
#include "device/cuda_device.h"

namespace onebeat {

struct HeadKind {
  std::int32_t dim = 0;
  KvType type = KvType::kBF16;
  friend bool operator==(const HeadKind&, const HeadKind&) = default;
};

/// Heads and caches that there are kernels for whose names begin with `names`.
inline std::vector<HeadKind> served_heads(std::string_view names = {}) {
  std::vector<HeadKind> kinds;
  for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
    if (variant.name.substr(0, names.size()) != names) continue;
    const HeadKind kind{variant.head_dim, variant.kv_type};
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  }
  return kinds;
}

inline AttentionGeometry decode_geometry(std::int32_t heads, std::int32_t kv_heads,
                                         std::int32_t dim, std::int32_t page_tokens,
                                         std::int32_t workers = 256,
                                         KvType kv_type = KvType::kBF16) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = dim;
  g.page_tokens = page_tokens;
  g.tile_tokens = value_of(cuda_attention_tuning(dim, kv_type, 132)).tile_tokens;
  g.workers = workers;
  g.kv_type = kv_type;
  return g;
}

inline AttentionGeometry decode_geometry(std::int32_t heads, std::int32_t kv_heads, HeadKind kind,
                                         std::int32_t page_tokens, std::int32_t workers = 256) {
  return decode_geometry(heads, kv_heads, kind.dim, page_tokens, workers, kind.type);
}

inline std::string test_name_of(const ::testing::TestParamInfo<HeadKind>& info) {
  const char* type = info.param.type == KvType::kF16      ? "F16Of"
                     : info.param.type == KvType::kF8E4M3 ? "F8Of"
                                                          : "Bf16Of";
  return type + std::to_string(info.param.dim);
}

/// Tests skip visibly without a Hopper GPU.
class DecodeChecks : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
    stream_ = value_of(CudaStream::create());
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  /// Every kernel whose name begins with `names` and that serves the geometry, alone and in a chain
  /// of dependent launches.
  void check(const BatchOptions& options, CostModel cost, std::string_view names) {
    PoisonedBatch host(options);
    DeviceBatch device(host, stream(), cost);
    const std::vector<oracle::Row> rows = device.oracle_rows();
    execute_on_cpu(host, cost);
    int served = 0;
    for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
      if (variant.name.substr(0, names.size()) != names ||
          variant.head_dim != options.geometry.head_dim ||
          variant.kv_type != options.geometry.kv_type ||
          variant.min_page_tokens > options.geometry.page_tokens ||
          variant.batch_invariant != (options.geometry.invariant_chunk_tokens != 0)) {
        continue;
      }
      ++served;
      const auto attention = value_of(CudaDecodeAttention::create(options.geometry, variant.name));
      ASSERT_EQ(attention.variant().name, variant.name);
      for (const CudaOverlap overlap :
           {CudaOverlap::kNone, CudaOverlap::kLaunch, CudaOverlap::kEarlyLoads}) {
        device.forget_results();
        CudaAttentionLaunch launch = device.launch();
        launch.overlap = overlap;
        for (int layer = 0; layer < 3; ++layer) {
          const Status status = attention.launch(device.plan(), launch, device.scratch(), stream());
          ASSERT_TRUE(status.ok()) << to_string(status);
        }
        const std::string what = std::string(variant.name) + ", overlap " +
                                 std::to_string(static_cast<int>(overlap)) + ", W " +
                                 std::to_string(options.geometry.workers) + ", P " +
                                 std::to_string(options.geometry.page_tokens) + ", T " +
                                 std::to_string(options.geometry.max_query_tokens);
        device.expect(rows, what);
        expect_like_cpu(host, device, what);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GT(served, 0);
  }

  /// A launch is one kernel: that of the variant.
  void expect_runs(const CudaDecodeAttention& attention, DeviceBatch& device) const {
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
    const Status status =
        attention.launch(device.plan(), device.launch(), device.scratch(), stream());
    ASSERT_EQ(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
    ASSERT_TRUE(status.ok()) << to_string(status);
    cudaGraphNode_t node = nullptr;
    std::size_t nodes = 1;
    ASSERT_EQ(cudaGraphGetNodes(graph, &node, &nodes), cudaSuccess);
    EXPECT_EQ(nodes, 1u);
    cudaKernelNodeParams params = {};
    ASSERT_EQ(cudaGraphKernelNodeGetParams(node, &params), cudaSuccess);
    EXPECT_EQ(params.func, cuda::decode_function(attention.variant()));
    (void)cudaGraphDestroy(graph);
  }

 private:
  static void execute_on_cpu(PoisonedBatch& host, CostModel cost) {
    PlannedBatch planned(host.options.geometry, host.plan_batch(), cost);
    const auto pool = make_pool_for_test(2);
    host.forget_results();
    const Status status = decode_attention(planned.plan(), host.launch, planned.scratch(), *pool);
    ASSERT_TRUE(status.ok()) << to_string(status);
  }

  static void expect_like_cpu(const PoisonedBatch& host, const DeviceBatch& device,
                              const std::string& what) {
    const std::vector<float> out = device.output();
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), std::isnan(host.out[i])) << what << ", element " << i;
      if (std::isnan(out[i])) continue;
      const double error = static_cast<double>(out[i]) - static_cast<double>(host.out[i]);
      difference += error * error;
      size += static_cast<double>(host.out[i]) * static_cast<double>(host.out[i]);
    }
    EXPECT_LE(std::sqrt(difference), device.tolerance() * std::sqrt(size)) << what;
    const std::vector<float> lse = device.log_sum_exp();
    for (std::size_t i = 0; i < lse.size(); ++i) {
      if (std::isinf(host.lse[i])) {
        ASSERT_EQ(lse[i], host.lse[i]) << what << ", row " << i;
      } else {
        ASSERT_NEAR(lse[i], host.lse[i], 1e-3) << what << ", row " << i;
      }
    }
  }

  CudaStream stream_;
};

}  // namespace onebeat
