// SPDX-License-Identifier: Apache-2.0
// What is particular to decode over a cache of fp8 e4m3: bf16 queries and outputs, products in
// fp16, scales of the heads in device memory. decode_cuda_test.cpp has the rest, with scales.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attention/cuda/decode/decode_checks_for_test.h"

namespace onebeat {
namespace {

constexpr KvType kF8 = KvType::kF8E4M3;

class CudaDecodeF8Test : public DecodeChecks {};

TEST_F(CudaDecodeF8Test, WithoutScalesTheyAreOne) {
  for (const HeadKind kind : served_heads()) {
    if (kind.type != kF8) continue;
    AttentionGeometry g = decode_geometry(12, 2, kind, 16);
    g.max_query_tokens = 2;
    check({.geometry = g, .lens = {50, 8, 1000}, .scales = false}, {}, "");
    if (HasFatalFailure()) return;
  }
}

// Queries are widened to fp16 by a power of two of their row: rows of any size are exact, whatever
// the other rows are.
TEST_F(CudaDecodeF8Test, QueryRowsOfAnySize) {
  for (const std::int32_t heads : {8, 16}) {
    BatchOptions options{.geometry = decode_geometry(heads, 1, 128, 16, 256, kF8),
                         .lens = {300, 70, 5}};
    PoisonedBatch host(options);
    const std::vector<float> sizes = {1e-30f, 1.0f, 1e-6f, 3e4f, 0.0f, 7e5f, 1e-38f, 2e8f};
    for (std::size_t i = 0; i < host.q.size(); ++i)
      host.q[i] *= sizes[i / 128 % static_cast<std::size_t>(heads) % sizes.size()];
    host.launch.score.scale = 1e-6f;
    DeviceBatch device(host, stream());
    const std::vector<oracle::Row> rows = device.oracle_rows();
    const auto attention = value_of(CudaDecodeAttention::create(options.geometry));
    ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
    const std::vector<float> out = device.output();
    for (std::size_t r = 0; r < rows.size(); ++r) {
      double difference = 0, size = 0;
      for (std::size_t d = 0; d < 128; ++d) {
        const double error = static_cast<double>(out[r * 128 + d]) - rows[r].out[d];
        difference += error * error;
        size += rows[r].out[d] * rows[r].out[d];
      }
      ASSERT_LE(std::sqrt(difference), 6e-3 * std::sqrt(size))
          << "row " << r << " of size " << sizes[r % static_cast<std::size_t>(heads) % 8];
    }
  }
}

// Weights over many decades: the many small ones must not be lost in fp16.
TEST_F(CudaDecodeF8Test, ManySmallWeightsCount) {
  BatchOptions options{.geometry = decode_geometry(4, 1, 128, 64, 64, kF8), .lens = {40000}};
  PoisonedBatch host(options);
  host.launch.score.scale = 0.6f;  // scores of a deviation of several units
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(options.geometry));
  ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
  device.expect(device.oracle_rows(), "deviation of several units");
}

TEST_F(CudaDecodeF8Test, NanCodesThatAreReadGiveNan) {
  BatchOptions options{.geometry = decode_geometry(8, 2, 128, 16, 256, kF8), .lens = {100}};
  PoisonedBatch host(options);
  std::fill(host.v.begin(), host.v.end(), std::byte{0x7f});
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(options.geometry));
  ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
  for (const float value : device.output()) ASSERT_TRUE(std::isnan(value));
  EXPECT_EQ(device.faults(), 0u);
}

// Bad scales in device memory, where no host sees them: results are wrong, nothing else is.
TEST_F(CudaDecodeF8Test, SanitizerBadScalesDoNoHarm) {
  BatchOptions options{.geometry = decode_geometry(8, 2, 128, 16, 256, kF8), .lens = {1000, 40}};
  PoisonedBatch host(options);
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(options.geometry));
  for (const float bad : {0.0f, -3.0f, INFINITY, PoisonedBatch::kNaN}) {
    const std::vector<float> scales(2, bad);
    ASSERT_TRUE(device.k_scales().upload(scales, stream()).ok());
    ASSERT_TRUE(device.v_scales().upload(scales, stream()).ok());
    for (int layer = 0; layer < 2; ++layer) {
      ASSERT_TRUE(
          attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
    }
    (void)device.output();
    EXPECT_EQ(device.faults(), 0u);
  }
  ASSERT_TRUE(device.k_scales().upload(host.k_scales, stream()).ok());
  ASSERT_TRUE(device.v_scales().upload(host.v_scales, stream()).ok());
  ASSERT_TRUE(attention.launch(device.plan(), device.launch(), device.scratch(), stream()).ok());
  device.expect(device.oracle_rows(), "after bad scales");
}

TEST_F(CudaDecodeF8Test, RefusesScalesAndStridesThatDoNotFit) {
  BatchOptions options{.geometry = decode_geometry(8, 2, 128, 16, 256, kF8), .lens = {100}};
  PoisonedBatch host(options);
  DeviceBatch device(host, stream());
  const auto attention = value_of(CudaDecodeAttention::create(options.geometry));
  const auto refusal = [&](const CudaAttentionLaunch& launch) {
    const Status status = attention.launch(device.plan(), launch, device.scratch(), stream());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << to_string(status);
    return std::string(status.message());
  };
  CudaAttentionLaunch launch = device.launch();
  launch.kv.k_scales =
      reinterpret_cast<const float*>(reinterpret_cast<const char*>(launch.kv.k_scales) + 2);
  EXPECT_NE(refusal(launch).find("aligned to 4 bytes"), std::string::npos);
  launch = device.launch();
  launch.kv.k_token_stride += 8;  // 16 bytes are 16 elements here
  EXPECT_NE(refusal(launch).find("multiple of 16"), std::string::npos);
  launch = device.launch();
  launch.kv.type = KvType::kBF16;
  EXPECT_EQ(attention.launch(device.plan(), launch, device.scratch(), stream()).code(),
            StatusCode::kPlanMismatch);

  BatchOptions half{.geometry = decode_geometry(8, 2, 128, 16), .lens = {100}};
  PoisonedBatch half_host(half);
  DeviceBatch half_device(half_host, stream());
  const auto half_attention = value_of(CudaDecodeAttention::create(half.geometry));
  launch = half_device.launch();
  launch.kv.v_scales = device.launch().kv.v_scales;
  const Status status =
      half_attention.launch(half_device.plan(), launch, half_device.scratch(), stream());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("only fp8 e4m3 takes them"), std::string::npos);
  for (const float value : half_device.output()) ASSERT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace onebeat
