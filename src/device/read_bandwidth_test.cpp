// SPDX-License-Identifier: Apache-2.0
#include "device/read_bandwidth.h"

#include <gtest/gtest.h>

namespace onebeat {
namespace {

TEST(ReadBandwidth, IsAPositiveNumberForAnyTeam) {
  for (const int threads : {1, 2}) {
    const auto pool = std::move(ThreadPool::create(threads)).value();
    const Result<double> bandwidth = measure_read_bandwidth(*pool, std::size_t{3} << 20, 2);
    ASSERT_TRUE(bandwidth.ok()) << bandwidth.status().message();
    EXPECT_GT(*bandwidth, 0.0);
  }
}

TEST(ReadBandwidth, RefusesWhatItCannotMeasure) {
  const auto pool = std::move(ThreadPool::create(1)).value();
  EXPECT_EQ(measure_read_bandwidth(*pool, 100).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(measure_read_bandwidth(*pool, 1 << 20, 0).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace onebeat
