// SPDX-License-Identifier: Apache-2.0
// Whoever arrives last merges, whatever the order of arrivals is.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/paused_kernels_for_test.h"
#include "attention/cuda/device_batch_for_test.h"
#include "device/cuda_device.h"

namespace onebeat {
namespace {

struct SplitHeavyBatch {
  const char* name;
  std::int32_t heads, kv_heads, head_dim, workers;
  std::vector<std::int32_t> lens;
  std::int32_t least_split_units;
};

Status enqueue(const cuda::DecodeKernel& kernel, const CudaPlan& plan,
               const CudaAttentionLaunch& launch, cuda::DecodeParams params, cudaStream_t stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(plan.workers));
  config.blockDim = dim3(static_cast<unsigned>(kernel.variant.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(kernel.variant.shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = launch.overlap == CudaOverlap::kNone ? 0 : 1;
  void* arguments[] = {&params};
  return cuda_status(cudaLaunchKernelExC(&config, kernel.function, arguments), "paused kernel");
}

class CudaArrivalTest : public ::testing::TestWithParam<SplitHeavyBatch> {};

void check_any_order(const SplitHeavyBatch& batch, std::int32_t invariant_chunk) {
  AttentionGeometry g;
  g.num_heads = batch.heads;
  g.num_kv_heads = batch.kv_heads;
  g.head_dim = g.head_dim_v = batch.head_dim;
  g.page_tokens = 16;
  g.tile_tokens = value_of(cuda_attention_tuning(batch.head_dim, KvType::kBF16, 132)).tile_tokens;
  g.workers = batch.workers;
  g.kv_type = KvType::kBF16;
  g.invariant_chunk_tokens = invariant_chunk;
  PoisonedBatch host({.geometry = g, .lens = batch.lens});
  const PlannedBatch planned(g, host.plan_batch());
  if (invariant_chunk == 0) {
    ASSERT_GE(balance_of(planned.plan(), {}).split_units, batch.least_split_units);
  }
  const Result<CudaDeviceFacts> facts = use_cuda_device(0);
  if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
  if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
  const auto stream = value_of(CudaStream::create());
  DeviceBatch device(host, stream.get());
  const std::vector<oracle::Row> rows = device.oracle_rows();

  for (const cuda::DecodeKernel& kernel : paused_kernels()) {
    if (kernel.variant.head_dim != batch.head_dim) continue;
    if (kernel.variant.batch_invariant != (invariant_chunk != 0)) continue;
    ASSERT_EQ(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   kernel.variant.shared_bytes),
              cudaSuccess);
    std::vector<float> out, lse;
    for (std::uint32_t seed = 1; seed <= 40; ++seed) {
      SCOPED_TRACE(std::string(kernel.variant.name) + ", seed " + std::to_string(seed));
      choose_pauses(seed);
      device.forget_results();
      CudaAttentionLaunch launch = device.launch();
      launch.overlap = seed % 2 == 0 ? CudaOverlap::kNone : CudaOverlap::kEarlyLoads;
      const cuda::DecodeParams params =
          cuda::decode_params(g, device.plan(), launch, device.scratch());
      for (int layer = 0; layer < 3; ++layer)  // the next one finds the counters as the first did
        ASSERT_TRUE(enqueue(kernel, device.plan(), launch, params, stream.get()).ok());
      device.expect(rows, batch.name);
      if (::testing::Test::HasFatalFailure()) return;
      if (out.empty()) {
        out = device.output();
        lse = device.log_sum_exp();
      }
      const std::vector<float> same_out = device.output();
      const std::vector<float> same_lse = device.log_sum_exp();
      ASSERT_EQ(std::memcmp(same_out.data(), out.data(), out.size() * sizeof(float)), 0);
      ASSERT_EQ(std::memcmp(same_lse.data(), lse.data(), lse.size() * sizeof(float)), 0);
    }
  }
}

// Pauses change who merges, never what comes out: parts are summed up in the order of workers.
TEST_P(CudaArrivalTest, AnyOrderGivesTheSameBits) {
  check_any_order(GetParam(), 0);
}

// And here in the order of the tree.
TEST_P(CudaArrivalTest, AnyOrderGivesTheSameBitsInBatchInvariantMode) {
  check_any_order(GetParam(), 128);
}

std::string name_of(const ::testing::TestParamInfo<SplitHeavyBatch>& batch) {
  return batch.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Batches, CudaArrivalTest,
    ::testing::Values(SplitHeavyBatch{"TwoPartsAUnit", 8, 8, 128, 15, {700, 300, 64, 900}, 7},
                      SplitHeavyBatch{"ManyPartsInOneLevel", 4, 1, 128, 20, {4000}, 1},
                      SplitHeavyBatch{"ManyPartsInTwoLevels", 16, 2, 128, 256, {9000}, 2},
                      SplitHeavyBatch{
                          "TwoLevelsBesideShortOnes", 8, 1, 64, 200, {20000, 100, 3000, 1}, 2},
                      SplitHeavyBatch{"TwoSegmentsAWorker", 28, 4, 128, 57, {350, 700, 523}, 12},
                      SplitHeavyBatch{"HeadsOf64", 12, 4, 64, 64, {1500, 2200, 130}, 8},
                      SplitHeavyBatch{"HeadsOf256", 12, 4, 256, 64, {700, 1100, 65}, 8},
                      SplitHeavyBatch{"TwoLevelsOfHeadsOf256", 3, 1, 256, 100, {5000, 90}, 1},
                      SplitHeavyBatch{"TwoLevelsOfHeadsOf96", 14, 2, 96, 150, {6000, 5000}, 2}),
    name_of);

}  // namespace
}  // namespace onebeat
