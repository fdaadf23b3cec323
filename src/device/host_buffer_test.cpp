// SPDX-License-Identifier: Apache-2.0
#include "device/host_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace onebeat {
namespace {

TEST(HostBuffer, IsAlignedZeroedAndAllItsBytesCanBeWritten) {
  auto made = HostBuffer::create((std::size_t{5} << 20) + 3);
  ASSERT_TRUE(made.ok()) << to_string(made.status());
  HostBuffer buffer = std::move(*made);
  EXPECT_EQ(buffer.size(), (std::size_t{5} << 20) + 3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % (2u << 20), 0u);
  EXPECT_EQ(buffer.bytes().front(), std::byte{0});
  EXPECT_EQ(buffer.bytes().back(), std::byte{0});
  buffer.bytes().front() = buffer.bytes().back() = std::byte{1};
  HostBuffer moved;
  moved = std::move(buffer);
  EXPECT_EQ(moved.bytes().back(), std::byte{1});
}

TEST(HostBuffer, EmptyAndImpossibleSizes) {
  EXPECT_EQ(HostBuffer::create(0)->size(), 0u);
  for (const std::size_t size : {std::numeric_limits<std::size_t>::max(), std::size_t{1} << 60}) {
    const auto buffer = HostBuffer::create(size);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
    EXPECT_NE(buffer.status().message().find(std::to_string(size)), std::string::npos);
  }
}

}  // namespace
}  // namespace onebeat
