// SPDX-License-Identifier: Apache-2.0
// Puts everything that a StepArguments points to onto the device, and brings back what a step may
// have written.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "device/cuda_memory.h"
#include "onebeat/step.h"

namespace onebeat::step_test {

class DeviceMirror {
 public:
  explicit DeviceMirror(cudaStream_t stream) : stream_(stream) {}

  /// Arguments with device pointers in place of `host`'s. Both memories hold the same.
  StepArguments mirror(const StepArguments& host, const StepPlanner& planner) {
    StepArguments device = host;
    device.num_active =
        static_cast<const std::int32_t*>(read(host.num_active, sizeof(std::int32_t)));
    for (IndexArray StepArguments::*array :
         {&StepArguments::lens, &StepArguments::query_tokens, &StepArguments::rows_of,
          &StepArguments::window_slot_of}) {
      (device.*array).data = read((host.*array).data, bytes(host.*array));
    }
    const IndexTable& pages = host.pages;
    const std::size_t page_bytes =
        table_elements(pages.rows, pages.columns, pages.row_stride, pages.column_stride) *
        (pages.type == IndexType::kI64 ? 8 : 4);
    if (host.updates.begin != nullptr) {
      device.updates.begin = static_cast<const std::int32_t*>(
          read(host.updates.begin, (static_cast<std::size_t>(host.num_requests) + 1) * 4));
      device.updates.entries = static_cast<const PageUpdate*>(
          read(host.updates.entries,
               static_cast<std::size_t>(host.updates.num_entries) * sizeof(PageUpdate)));
      device.updates.page_rows =
          static_cast<std::int32_t*>(write(host.updates.page_rows, page_bytes));
      device.pages.data = device.updates.page_rows;
    } else {
      device.pages.data = read(pages.data, page_bytes);
    }
    for (IntArray StepArguments::*array :
         {&StepArguments::out_lens, &StepArguments::cu_seqlens_q, &StepArguments::cu_seqlens_k,
          &StepArguments::positions, &StepArguments::slots, &StepArguments::window_slots}) {
      const IntArray& a = host.*array;
      const std::size_t size =
          a.size == 0 ? 0 : static_cast<std::size_t>((a.size - 1) * a.stride + 1) * 4;
      (device.*array).data = static_cast<std::int32_t*>(write(a.data, size));
    }
    for (IntTable StepArguments::*table :
         {&StepArguments::page_table, &StepArguments::window_table}) {
      const IntTable& t = host.*table;
      const std::size_t size = table_elements(t.rows, t.columns, t.row_stride, t.column_stride) * 4;
      (device.*table).data = static_cast<std::int32_t*>(write(t.data, size));
    }
    for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
      const auto at = static_cast<std::size_t>(c);
      device.plans[at] = static_cast<std::byte*>(write(host.plans[at], planner.plan_bytes(c)));
      const auto words = static_cast<std::size_t>(planner.planner(c).scratch_size().counters);
      device.counters[at] = static_cast<std::uint32_t*>(write(host.counters[at], words * 4));
    }
    return device;
  }

  /// Copies everything that a step may have written over the host's memory.
  void bring_back() {
    for (const Region& region : written_) {
      const auto& buffer = buffers_[region.buffer];
      ASSERT_EQ(
          cudaMemcpyAsync(region.host, buffer.data(), region.bytes, cudaMemcpyDefault, stream_),
          cudaSuccess);
    }
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }

 private:
  struct Region {
    void* host;
    std::size_t bytes;
    std::size_t buffer;
  };

  static std::size_t bytes(const IndexArray& array) {
    if (array.size == 0 || array.data == nullptr) return 0;
    EXPECT_GE(array.stride, 0);
    return static_cast<std::size_t>((array.size - 1) * array.stride + 1) *
           (array.type == IndexType::kI64 ? 8 : 4);
  }

  static std::size_t table_elements(std::int64_t rows, std::int64_t columns,
                                    std::int64_t row_stride, std::int64_t column_stride) {
    if (rows == 0 || columns == 0) return 0;
    return static_cast<std::size_t>((rows - 1) * row_stride + (columns - 1) * column_stride + 1);
  }

  const void* read(const void* host, std::size_t size) {
    if (host == nullptr || size == 0) return host == nullptr ? nullptr : buffer(nullptr, 16);
    return buffer(host, size);
  }

  void* write(void* host, std::size_t size) {
    if (host == nullptr) return nullptr;
    if (size == 0) return buffer(nullptr, 16);
    void* device = buffer(host, size);
    written_.push_back({host, size, buffers_.size() - 1});
    return device;
  }

  void* buffer(const void* host, std::size_t size) {
    Result<DeviceBuffer<std::byte>> made = DeviceBuffer<std::byte>::allocate(size);
    EXPECT_TRUE(made.ok()) << to_string(made.status());
    buffers_.push_back(std::move(*made));
    if (host != nullptr) {
      EXPECT_EQ(cudaMemcpyAsync(buffers_.back().data(), host, size, cudaMemcpyDefault, stream_),
                cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    }
    return buffers_.back().data();
  }

  cudaStream_t stream_;
  std::vector<DeviceBuffer<std::byte>> buffers_;
  std::vector<Region> written_;
};

}  // namespace onebeat::step_test
