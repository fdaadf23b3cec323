// SPDX-License-Identifier: Apache-2.0
// The expand pass on the device against the CPU twin, every byte of every buffer: random drafts in
// all layouts, rows longer than a warp, faulty numbers.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"

namespace onebeat {
namespace {

constexpr std::int32_t kSentinel = -77;

/// A random draft whose views leave gaps of `gap` elements.
struct Draft {
  std::int32_t requests = 0, top_k = 1, page_tokens = 1, decode_length = 0;
  std::int64_t rows = 0, tokens = 0, columns = 0, gap = 0;
  bool wide = false;
  std::vector<std::int64_t> last, wide_slots;
  std::vector<std::int32_t> slots, lens, table;

  explicit Draft(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto draw = [&](std::int32_t low, std::int32_t high) {
      return std::uniform_int_distribution<std::int32_t>(low, high)(random);
    };
    requests = seed % 50 == 0 ? 3000 : draw(0, 40);
    top_k = draw(1, 8);
    page_tokens = 1 << draw(0, 7);
    decode_length = draw(0, 9);
    const std::int64_t all = std::int64_t{requests} * top_k;
    rows = all == 0 ? 0 : all - draw(0, 1);
    tokens = draw(0, 5) == 0 ? draw(0, 200) : draw(1, 12);
    columns = tokens + draw(0, 3);
    gap = draw(0, 2);
    wide = draw(0, 1) == 0;
    for (std::int32_t b = 0; b < requests; ++b) last.push_back(draw(0, page_tokens - 1));
    slots.assign(static_cast<std::size_t>(rows * row_stride(tokens) + 1), -1);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::int32_t slot = draw(0, 100000);
      for (std::int64_t t = 0; t < tokens; ++t) {
        slots[slot_place(row, t)] = slot;
        slot = draw(0, 4) == 0 ? draw(0, 100000) : slot + 1;
      }
    }
    wide_slots.assign(slots.begin(), slots.end());
    lens.assign(static_cast<std::size_t>(all * (1 + gap) + 1), kSentinel);
    table.assign(static_cast<std::size_t>(all * row_stride(columns) + 1), kSentinel);
  }

  [[nodiscard]] std::int64_t row_stride(std::int64_t width) const {
    return (width + gap) * (1 + gap);
  }
  [[nodiscard]] std::size_t slot_place(std::int64_t row, std::int64_t token) const {
    return static_cast<std::size_t>(row * row_stride(tokens) + token * (1 + gap));
  }

  [[nodiscard]] DraftExpandArguments arguments() {
    DraftExpandArguments draft;
    draft.num_requests = requests;
    draft.top_k = top_k;
    draft.decode_length = decode_length;
    draft.page_tokens = page_tokens;
    draft.last_page_lens = std::span<const std::int64_t>(last);
    draft.slots = {slots.data(), rows, tokens, row_stride(tokens), 1 + gap, IndexType::kI32};
    if (wide) draft.slots.data = wide_slots.data();
    if (wide) draft.slots.type = IndexType::kI64;
    draft.out_lens = {lens.data(), std::int64_t{requests} * top_k, 1 + gap};
    draft.page_table = {table.data(), std::int64_t{requests} * top_k, columns, row_stride(columns),
                        1 + gap};
    return draft;
  }
};

class DraftExpandCuda : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_.emplace(std::move(CudaStream::create()).value());
    status_.emplace(std::move(PinnedBuffer<std::uint32_t>::allocate(1)).value());
  }

  template <typename T>
  DeviceBuffer<T> on_device(const std::vector<T>& values) {
    Result<DeviceBuffer<T>> buffer = DeviceBuffer<T>::allocate(values.size() + 1);
    EXPECT_TRUE(buffer.ok()) << to_string(buffer.status());
    EXPECT_TRUE(buffer->upload(values, stream_->get()).ok());
    EXPECT_EQ(cudaStreamSynchronize(stream_->get()), cudaSuccess);
    return std::move(*buffer);
  }

  void bring_back(std::vector<std::int32_t>& host, const DeviceBuffer<std::int32_t>& device) {
    ASSERT_EQ(cudaMemcpy(host.data(), device.data(), host.size() * 4, cudaMemcpyDefault),
              cudaSuccess);
  }

  /// Runs the draft on the device, inside a graph, and brings lengths and table back. Returns the
  /// fault bits.
  std::uint32_t run(Draft& draft) {
    DraftExpandArguments device = draft.arguments();
    const auto last = on_device(draft.last);
    const auto slots = on_device(draft.slots);
    const auto wide_slots = on_device(draft.wide_slots);
    const auto lens = on_device(draft.lens);
    const auto table = on_device(draft.table);
    device.last_page_lens.data = last.data();
    device.slots.data = draft.wide ? static_cast<const void*>(wide_slots.data()) : slots.data();
    device.out_lens.data = lens.data();
    device.page_table.data = table.data();
    *status_->data() = 0;
    const Result<CudaGraph> graph = CudaGraph::capture(stream_->get(), [&](cudaStream_t s) {
      return prepare_draft_expand_cuda(device, {status_->data(), true}, s);
    });
    EXPECT_TRUE(graph.ok()) << to_string(graph.status());
    if (!graph.ok()) return ~0u;
    EXPECT_EQ(graph->kernel_nodes(), 1);
    EXPECT_TRUE(graph->launch(stream_->get()).ok());
    EXPECT_EQ(cudaStreamSynchronize(stream_->get()), cudaSuccess);
    bring_back(draft.lens, lens);
    bring_back(draft.table, table);
    return *status_->data();
  }

  std::optional<CudaStream> stream_;
  std::optional<PinnedBuffer<std::uint32_t>> status_;
};

std::uint32_t bit(StepFault fault) {
  return static_cast<std::uint32_t>(fault);
}

TEST_F(DraftExpandCuda, RandomDraftsEqualTheCpuTwin) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Draft cpu(seed);
    Draft gpu(seed);
    const Status prepared = prepare_draft_expand(cpu.arguments());
    ASSERT_TRUE(prepared.ok()) << to_string(prepared);
    ASSERT_EQ(run(gpu), 0u);
    ASSERT_EQ(gpu.lens, cpu.lens);
    ASSERT_EQ(gpu.table, cpu.table);
  }
}

TEST_F(DraftExpandCuda, NumbersThatTheHostCannotSeeAreForcedAndReported) {
  std::uint64_t seed = 1;
  std::optional<Draft> found;
  while (!found.has_value() || found->rows < 2 || found->tokens < 4 || found->requests > 100) {
    found.emplace(seed++);
  }
  Draft& sound = *found;
  sound.wide = false;
  for (std::int64_t t = 0; t < sound.tokens; ++t) {  // a page each
    sound.slots[sound.slot_place(1, t)] = static_cast<std::int32_t>(t) * sound.page_tokens;
  }
  Draft faulty = sound;
  EXPECT_EQ(run(faulty), 0u);
  const auto place = [&](std::int64_t row, std::int64_t column) {
    return static_cast<std::size_t>(row * sound.row_stride(sound.columns) +
                                    column * (1 + sound.gap));
  };
  EXPECT_EQ(faulty.table[place(1, 3)], 3);

  faulty = sound;
  faulty.slots[faulty.slot_place(1, 3)] = -5;
  EXPECT_EQ(run(faulty), bit(StepFault::kSlot));
  EXPECT_EQ(faulty.table[place(1, 3)], 0);
  EXPECT_EQ(faulty.table[place(1, 2)], 2);

  faulty = sound;
  faulty.last[0] = -1;
  EXPECT_EQ(run(faulty), bit(StepFault::kLength));
  EXPECT_EQ(faulty.lens[0], sound.decode_length);

  faulty = sound;
  faulty.columns = 3;  // of rows of four or more pages
  faulty.table.assign(sound.table.size(), kSentinel);
  EXPECT_EQ(run(faulty), bit(StepFault::kRoom));
  const auto row_1 = static_cast<std::size_t>(faulty.row_stride(3));
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(faulty.table[row_1 + c * static_cast<std::size_t>(1 + faulty.gap)],
              static_cast<std::int32_t>(c));
  }
}

TEST_F(DraftExpandCuda, TheHostRefusesShapesAndLaunchesNothing) {
  Draft draft(3);
  DraftExpandArguments arguments = draft.arguments();
  arguments.page_tokens = 3;
  EXPECT_EQ(prepare_draft_expand_cuda(arguments, {}, stream_->get()).code(),
            StatusCode::kInvalidArgument);
  arguments = draft.arguments();
  arguments.out_lens.size = arguments.page_table.rows - 1;
  EXPECT_EQ(prepare_draft_expand_cuda(arguments, {}, stream_->get()).code(),
            StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace onebeat
