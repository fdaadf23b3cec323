// SPDX-License-Identifier: Apache-2.0
// The narrow table kernels against the CPU twin, every byte of tables and sums: both contracts,
// every form of the kernel, rows that end anywhere in a chunk; which steps take them.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"
#include "step/cuda/device_mirror_for_test.h"

namespace onebeat {
namespace {

constexpr std::int32_t kSentinel = -77;
constexpr std::int32_t kPoolPages = 4096;

/// A step that makes page tables and sums of lengths.
class TableStep {
 public:
  struct Shape {
    std::int32_t requests = 1, columns = 1, page_tokens = 1;
    bool slots = true, window = false, wide = false, aligned = true;
    TableContract contract = TableContract::kDense;
  };

  TableStep(const Shape& shape, std::uint64_t seed)
      : random_(seed),
        planner_(StepPlanner::create({}, shape.page_tokens,
                                     {shape.requests, shape.columns * shape.page_tokens, 1})) {
    EXPECT_TRUE(planner_.ok()) << to_string(planner_.status());
    const auto b = static_cast<std::size_t>(shape.requests);
    const std::int32_t most = shape.columns * shape.page_tokens;
    active_ = draw(0, 3) == 0 ? draw(0, shape.requests) : shape.requests;
    for (std::size_t r = 0; r < b; ++r) {
      lens_.push_back(draw(0, 5) == 0 ? 0 : draw(1, most));
      rows_.push_back(draw(0, shape.requests - 1));
    }
    wide_lens_.assign(lens_.begin(), lens_.end());
    wide_rows_.assign(rows_.begin(), rows_.end());
    const std::int32_t slots = kPoolPages * shape.page_tokens;
    const std::int64_t map_columns = shape.slots ? most : shape.columns;
    const std::int64_t map_stride = padded(map_columns, shape.aligned);
    for (std::int64_t i = 0; i < shape.requests * map_stride; ++i) {
      map_.push_back(shape.slots ? draw(0, slots - 1) : draw(0, kPoolPages - 1));
    }
    step.num_requests = shape.requests;
    step.num_active = &active_;
    step.lens = std::span<const std::int32_t>(lens_);
    step.rows_of = std::span<const std::int32_t>(rows_);
    if (shape.wide) step.lens = std::span<const std::int64_t>(wide_lens_);
    if (shape.wide) step.rows_of = std::span<const std::int64_t>(wide_rows_);
    step.page_map = shape.slots ? PageMapKind::kSlots : PageMapKind::kPages;
    step.pages = {map_.data(), shape.requests, map_columns, map_stride};
    for (const std::size_t size : {b, b + 1, b + 1}) outputs_.emplace_back(size + 1, kSentinel);
    step.out_lens = std::span<std::int32_t>(outputs_[0]);
    step.cu_seqlens_q = std::span<std::int32_t>(outputs_[1]);
    step.cu_seqlens_k = std::span<std::int32_t>(outputs_[2]);
    step.tables = shape.contract;
    step.dense_pages = shape.columns;
    const std::int64_t stride = padded(shape.columns, shape.aligned);
    const auto table = [&] {
      outputs_.emplace_back(static_cast<std::size_t>(shape.requests * stride) + 1, kSentinel);
      return IntTable{outputs_.back().data(), shape.requests, shape.columns, stride};
    };
    if (!shape.window || draw(0, 3) != 0) step.page_table = table();
    if (!shape.window) return;
    step.window_table = table();
    for (std::int32_t s = 0; s < slots; ++s) window_of_.push_back(draw(-1, slots - 1));
    step.window_slot_of = std::span<const std::int64_t>(window_of_);
  }
  TableStep(const TableStep&) = delete;
  TableStep& operator=(const TableStep&) = delete;

  [[nodiscard]] StepPlanner& planner() { return *planner_; }

  void expect_same(const TableStep& other) const {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      ASSERT_EQ(outputs_[i], other.outputs_[i]) << "output " << i;
    }
  }

  StepArguments step;

 private:
  std::int32_t draw(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }
  static std::int64_t padded(std::int64_t columns, bool aligned) {
    return aligned ? (columns + 3) / 4 * 4 : columns + 1;
  }

  std::mt19937_64 random_;
  Result<StepPlanner> planner_;
  std::int32_t active_ = 0;
  std::vector<std::int32_t> lens_, rows_, map_;
  std::vector<std::int64_t> wide_lens_, wide_rows_, window_of_;
  std::vector<std::vector<std::int32_t>> outputs_;
};

class NarrowTablesCuda : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_.emplace(std::move(CudaStream::create()).value());
    status_.emplace(std::move(PinnedBuffer<std::uint32_t>::allocate(1)).value());
  }

  void run(TableStep& step, StepKernels kernels, bool narrow, std::uint32_t faults) {
    const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(step.planner());
    ASSERT_TRUE(preparer.ok()) << to_string(preparer.status());
    step_test::DeviceMirror mirror(stream_->get());
    const StepArguments device = mirror.mirror(step.step, step.planner());
    EXPECT_EQ(preparer->takes_narrow(device), narrow);
    *status_->data() = 0;
    const Status launched =
        preparer->prepare(device, {status_->data(), true, kernels}, stream_->get());
    ASSERT_TRUE(launched.ok()) << to_string(launched);
    ASSERT_EQ(cudaStreamSynchronize(stream_->get()), cudaSuccess);
    EXPECT_EQ(*status_->data(), faults);
    mirror.bring_back();
  }

  void check(const TableStep::Shape& shape, std::uint64_t seed, bool narrow) {
    SCOPED_TRACE(testing::Message()
                 << shape.requests << " requests, " << shape.columns << " columns, pages of "
                 << shape.page_tokens << ", slots " << shape.slots << ", window " << shape.window
                 << ", wide " << shape.wide << ", aligned " << shape.aligned << ", dense "
                 << (shape.contract == TableContract::kDense) << ", seed " << seed);
    TableStep cpu(shape, seed);
    const Status prepared = cpu.planner().prepare(cpu.step);
    ASSERT_TRUE(prepared.ok()) << to_string(prepared);
    for (const StepKernels kernels : {StepKernels::kFastest, StepKernels::kGeneral}) {
      TableStep gpu(shape, seed);
      run(gpu, kernels, narrow, 0);
      gpu.expect_same(cpu);
      if (HasFatalFailure()) return;
    }
  }

  std::optional<CudaStream> stream_;
  std::optional<PinnedBuffer<std::uint32_t>> status_;
};

TEST_F(NarrowTablesCuda, TablesEqualTheCpuTwinInEveryForm) {
  std::uint64_t seed = 1;
  for (const TableContract contract : {TableContract::kDense, TableContract::kLive}) {
    for (const std::int32_t page : {1, 16}) {
      for (const bool window : {false, true}) {
        for (const bool aligned : {true, false}) {
          for (const bool slots : {true, false}) {
            for (const std::int32_t requests : {1, 3, 33, 257}) {
              // A chunk and what is around it, and enough columns for the larger chunks.
              for (const std::int32_t columns : {1, 255, 257, 1023, 1025, 4099}) {
                check({requests, columns, page, slots, window, seed % 2 == 0, aligned, contract},
                      seed, true);
                if (HasFatalFailure()) return;
                ++seed;
                if (requests == 257) break;
              }
            }
          }
        }
      }
    }
  }
  check({257, 3000, 1, true, false, true, true, TableContract::kDense}, seed, true);
  check({257, 3000, 2, true, false, true, true, TableContract::kLive}, seed, true);
}

TEST_F(NarrowTablesCuda, SumsOfAnyNumberOfRequests) {
  for (const std::int32_t requests : {1, 31, 32, 33, 255, 256, 257, 1000, 1023, 1024}) {
    check({requests, 5, 2, true, false, true, true, TableContract::kLive}, 7, true);
    if (HasFatalFailure()) return;
  }
  check({1025, 5, 2, true, false, true, true, TableContract::kLive}, 7, false);
}

TEST_F(NarrowTablesCuda, FaultsAreThoseOfTheGeneralKernels) {
  for (const StepKernels kernels : {StepKernels::kFastest, StepKernels::kGeneral}) {
    TableStep step({8, 100, 1, true, false, false, true, TableContract::kLive}, 3);
    std::vector<std::int32_t> lens = {5, -1, 3, 2000000000, 100, 101, 0, 1}, out(9, kSentinel);
    std::vector<std::int32_t> rows = {0, 1, 2, 3, 4, 5, 6, 8};
    step.step.num_active = nullptr;
    step.step.lens = std::span<const std::int32_t>(lens);
    step.step.rows_of = std::span<const std::int32_t>(rows);
    step.step.out_lens = std::span<std::int32_t>(out);
    run(step, kernels, true,
        static_cast<std::uint32_t>(StepFault::kLength) |
            static_cast<std::uint32_t>(StepFault::kRow));
    EXPECT_EQ(out, (std::vector<std::int32_t>{5, 0, 3, 100, 100, 100, 0, 1, kSentinel}));
  }
}

}  // namespace
}  // namespace onebeat
