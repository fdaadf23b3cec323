// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "attention/merge_batch_for_test.h"
#include "device/cuda_device.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"

namespace onebeat {
namespace {

template <typename T>
T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << to_string(result.status());
  return std::move(result).value();
}

class CudaMergeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_ = value_of(CudaStream::create());
  }

  void check(const MergeOptions& options, std::size_t to, const std::string& what) {
    MergeBatch batch(options);
    if (options.tokens == 0) return;
    const auto rows = value_of(
        DeviceBuffer<std::byte>::copy_of(std::span<const std::byte>(batch.rows), stream_.get()));
    const auto lse =
        value_of(DeviceBuffer<float>::copy_of(std::span<const float>(batch.lse), stream_.get()));
    const auto sinks =
        value_of(DeviceBuffer<float>::copy_of(std::span<const float>(batch.sinks), stream_.get()));
    const Status status = cuda_merge_states(
        batch.merge(rows.data(), lse.data(), to, batch.sinks.empty() ? nullptr : sinks.data()),
        stream_.get());
    ASSERT_TRUE(status.ok()) << to_string(status);
    batch.expect(value_of(rows.download(stream_.get())), value_of(lse.download(stream_.get())), to,
                 what);
  }

  CudaStream stream_;
};

TEST_F(CudaMergeTest, SanitizerAgreesWithDoublePrecision) {
  for (MergeOptions options : merge_cases()) {
    for (const std::int32_t dim : {options.dim, 96}) {
      options.dim = dim;
      check(options, options.states,
            "type " + std::to_string(static_cast<int>(options.type)) + ", " +
                std::to_string(options.states) + " states, seed " + std::to_string(options.seed));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaMergeTest, InPlaceOfAnyStateGivesTheSame) {
  for (const RowType type : {RowType::kF32, RowType::kF16, RowType::kBF16}) {
    for (const std::int32_t dim : {64, 128, 512}) {
      for (std::size_t to = 0; to < 3; ++to) {
        check({.type = type, .states = 3, .tokens = 50, .dim = dim, .gap = 8, .seed = 9}, to,
              "in place of state " + std::to_string(to));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(CudaMergeRefusals, RowsThatAreNotAligned) {  // asks no device
  MergeBatch batch({.type = RowType::kBF16, .gap = 4});
  const Status status =
      cuda_merge_states(batch.merge(batch.rows.data(), batch.lse.data(), 2, nullptr), nullptr);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("16 bytes"), std::string::npos) << to_string(status);
  batch.states.clear();
  EXPECT_EQ(cuda_merge_states({}, nullptr).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace onebeat
