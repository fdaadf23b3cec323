// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "device/cuda_memory.h"
#include "device/cuda_stream.h"

namespace onebeat {
namespace {

class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_ = std::move(CudaStream::create()).value();
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

 private:
  CudaStream stream_;
};

TEST(CudaDevice, MissingDeviceIsNamed) {
  const Result<CudaDeviceFacts> facts = use_cuda_device(99);
  ASSERT_FALSE(facts.ok());
  EXPECT_EQ(facts.status().code(), StatusCode::kUnavailable);
}

TEST_F(CudaDeviceTest, KnowsItsDevice) {
  const CudaDeviceFacts facts = *use_cuda_device(0);
  EXPECT_FALSE(facts.name.empty());
  EXPECT_GT(facts.multiprocessors, 0);
  EXPECT_GT(facts.memory_bytes, facts.l2_bytes);
}

TEST_F(CudaDeviceTest, BuffersCarryValuesThereAndBack) {
  std::vector<int> values(1000);
  std::iota(values.begin(), values.end(), 7);
  const auto buffer = std::move(DeviceBuffer<int>::copy_of(values, stream())).value();
  EXPECT_EQ(*buffer.download(stream()), values);
}

TEST_F(CudaDeviceTest, TooLargeAnAllocationIsAnErrorAndLeavesTheDeviceUsable) {
  EXPECT_EQ(DeviceBuffer<char>::allocate(std::size_t{1} << 50).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_TRUE(DeviceBuffer<char>::allocate(16).ok());
}

TEST_F(CudaDeviceTest, GraphReplaysWhatWasCaptured) {
  auto source = std::move(DeviceBuffer<int>::allocate(4)).value();
  auto target =
      std::move(DeviceBuffer<int>::copy_of(std::vector<int>{0, 0, 0, 0}, stream())).value();
  const auto graph =
      std::move(CudaGraph::capture(stream(), [&](cudaStream_t s) {
        return cuda_status(cudaMemcpyAsync(target.data(), source.data(), source.size_bytes(),
                                           cudaMemcpyDeviceToDevice, s),
                           "copy");
      })).value();
  EXPECT_EQ(graph.kernel_nodes(), 0);
  for (int value : {1, 2}) {
    ASSERT_TRUE(source.upload(std::vector<int>(4, value), stream()).ok());
    ASSERT_TRUE(graph.launch(stream()).ok());
    EXPECT_EQ(*target.download(stream()), std::vector<int>(4, value));
  }
}

TEST_F(CudaDeviceTest, FailureInsideACaptureEndsIt) {
  const auto graph = CudaGraph::capture(
      stream(), [](cudaStream_t) { return Status(StatusCode::kInternal, "planted"); });
  EXPECT_EQ(graph.status().message(), "planted");
  auto buffer = std::move(DeviceBuffer<int>::allocate(4)).value();
  EXPECT_TRUE(buffer.fill_bytes(0, stream()).ok());
  EXPECT_EQ(*buffer.download(stream()), std::vector<int>(4, 0));
}

}  // namespace
}  // namespace onebeat
