// SPDX-License-Identifier: Apache-2.0
// The narrow kernels of prepare_step against the CPU twin, byte by byte: which steps take them, and
// that they and the general kernels write the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"
#include "plan/plan_fixture.h"
#include "step/cuda/device_mirror_for_test.h"

namespace onebeat {
namespace {

using step_test::DeviceMirror;

constexpr std::int32_t kSentinel = -77;
constexpr std::int32_t kPageTokens = 16;
constexpr std::int32_t kColumns = 64;

/// A step of the engine: lengths, sums, positions, slots, page updates, a plan for each class.
class EngineStep {
 public:
  EngineStep(const std::vector<StepClass>& classes, std::int32_t requests, std::int32_t tokens,
             std::uint64_t seed)
      : random_(seed),
        planner_(
            StepPlanner::create(classes, kPageTokens, {requests, kPageTokens * kColumns, tokens})) {
    EXPECT_TRUE(planner_.ok()) << to_string(planner_.status());
    step.num_requests = requests;
    step.query_tokens_each = tokens;
    active_ = random_.uniform(0, 3) == 0 ? random_.uniform(0, requests) : requests;
    step.num_active = &active_;
    step.len_delta = random_.uniform(-3, 3);
    step.add_query_tokens = random_.uniform(0, 1) == 0;
    const std::int32_t added = step.len_delta + (step.add_query_tokens ? tokens : 0);
    // The host also refuses stored numbers above the limit that a negative delta would bring back.
    const std::int32_t longest = kPageTokens * kColumns + std::min(added, 0);
    for (std::int32_t b = 0; b < requests; ++b) {
      const std::int32_t most = random_.uniform(0, 3) == 0 ? longest : 100;
      const std::int32_t len = random_.uniform(0, 9) == 0 ? 0 : random_.uniform(tokens, most);
      lens_.push_back(len - added);
      rows_.push_back(b);
      update_begin_.push_back(static_cast<std::int32_t>(updates_.size()));
      if (random_.uniform(0, 4) == 0) {
        updates_.push_back({random_.uniform(0, kColumns - 1), random_.uniform(0, 999)});
      }
    }
    update_begin_.push_back(static_cast<std::int32_t>(updates_.size()));
    for (std::int32_t i = 0; i < std::max(requests, 1) * kColumns; ++i) {
      pages_.push_back(random_.uniform(0, 999));
    }
    step.lens = std::span<const std::int32_t>(lens_);
    step.rows_of = std::span<const std::int32_t>(rows_);
    step.page_map = PageMapKind::kPages;
    step.pages = {pages_.data(), std::max(requests, 1), kColumns, kColumns};
    step.pool_pages = 1000;
    step.updates = {update_begin_.data(), updates_.data(),
                    static_cast<std::int64_t>(updates_.size()), pages_.data()};
    const auto b = static_cast<std::size_t>(requests);
    const std::size_t new_tokens = b * static_cast<std::size_t>(tokens);
    for (const std::size_t size : {b, b + 1, b + 1, new_tokens, new_tokens}) {
      outputs_.emplace_back(size + 1, kSentinel);
    }
    const auto output = [&](std::size_t i) { return std::span<std::int32_t>(outputs_[i]); };
    step.out_lens = output(0);
    step.cu_seqlens_q = output(1);
    step.cu_seqlens_k = output(2);
    step.positions = output(3);
    step.slots = output(4);
    for (std::int32_t c = 0; c < planner_->num_classes(); ++c) {
      plans_.emplace_back(planner_->plan_bytes(c));
      counters_.emplace_back(static_cast<std::size_t>(planner_->planner(c).scratch_size().counters),
                             0xdeadbeefu);
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      step.plans[c] = plans_[c].span().data();
      step.counters[c] = counters_[c].data();
    }
  }
  EngineStep(const EngineStep&) = delete;
  EngineStep& operator=(const EngineStep&) = delete;

  [[nodiscard]] StepPlanner& planner() { return *planner_; }

  void expect_same(EngineStep& other) {
    ASSERT_EQ(pages_, other.pages_);
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      ASSERT_EQ(outputs_[i], other.outputs_[i]) << "output " << i;
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      const auto mine = plans_[c].span();
      ASSERT_EQ(std::memcmp(mine.data(), other.plans_[c].span().data(), mine.size()), 0)
          << "plan " << c;
      ASSERT_EQ(counters_[c], other.counters_[c]);
    }
  }

  StepArguments step;

 private:
  plan_fixture::RandomCases random_;
  Result<StepPlanner> planner_;
  std::int32_t active_ = 0;
  std::vector<std::int32_t> lens_, rows_, pages_, update_begin_;
  std::vector<PageUpdate> updates_;
  std::vector<std::vector<std::int32_t>> outputs_;
  std::vector<plan_fixture::PlanBytes> plans_;
  std::vector<std::vector<std::uint32_t>> counters_;
};

/// A full class, a window, chunks, and fixed chunks; all take `tokens` query tokens.
std::vector<StepClass> four_classes(std::int32_t workers, std::int32_t tokens) {
  std::vector<StepClass> classes(4);
  for (StepClass& of_class : classes) {
    AttentionGeometry& g = of_class.geometry;
    g.num_heads = 32;
    g.num_kv_heads = 8;
    g.head_dim = g.head_dim_v = 128;
    g.page_tokens = kPageTokens;
    g.tile_tokens = 16;
    g.workers = workers;
    g.max_query_tokens = tokens;
  }
  classes[1].geometry.window_left = 100;
  classes[1].geometry.num_heads = 5;
  classes[1].geometry.num_kv_heads = 1;
  classes[2].geometry.chunk_tokens = 96;
  classes[3].geometry.invariant_chunk_tokens = 48;
  return classes;
}

class NarrowCuda : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_.emplace(std::move(CudaStream::create()).value());
    status_.emplace(std::move(PinnedBuffer<std::uint32_t>::allocate(1)).value());
    *status_->data() = 0;
  }

  void run(EngineStep& step, StepKernels kernels, bool narrow) {
    const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(step.planner());
    ASSERT_TRUE(preparer.ok()) << to_string(preparer.status());
    DeviceMirror mirror(stream_->get());
    const StepArguments device = mirror.mirror(step.step, step.planner());
    EXPECT_EQ(preparer->takes_narrow(device), narrow);
    const Status launched =
        preparer->prepare(device, {status_->data(), true, kernels}, stream_->get());
    ASSERT_TRUE(launched.ok()) << to_string(launched);
    ASSERT_EQ(cudaStreamSynchronize(stream_->get()), cudaSuccess);
    EXPECT_EQ(*status_->data(), 0u);
    mirror.bring_back();
  }

  void check(std::int32_t requests, std::int32_t workers, std::int32_t tokens, bool narrow) {
    SCOPED_TRACE(testing::Message() << requests << " requests, " << workers << " workers, "
                                    << tokens << " query tokens");
    const auto seed = static_cast<std::uint64_t>(requests * 1000 + workers + tokens);
    const std::vector<StepClass> classes = four_classes(workers, tokens);
    EngineStep cpu(classes, requests, tokens, seed);
    const Status prepared = cpu.planner().prepare(cpu.step);
    ASSERT_TRUE(prepared.ok()) << to_string(prepared);
    for (const StepKernels kernels : {StepKernels::kFastest, StepKernels::kGeneral}) {
      SCOPED_TRACE(kernels == StepKernels::kGeneral ? "general" : "fastest");
      EngineStep gpu(classes, requests, tokens, seed);
      run(gpu, kernels, narrow);
      gpu.expect_same(cpu);
      if (HasFatalFailure()) return;
    }
  }

  std::optional<CudaStream> stream_;
  std::optional<PinnedBuffer<std::uint32_t>> status_;
};

TEST_F(NarrowCuda, StepsEqualTheCpuTwin) {
  for (const std::int32_t requests :
       {0,   1,   2,   7,   31,  32,  33,   63,   64,   65,   128,  255,  256,
        257, 300, 511, 512, 513, 777, 1023, 1024, 1025, 2048, 3001, 4095, 4096}) {
    for (const std::int32_t workers : {1, 31, 132, 264, 279, 280, 496}) {
      check(requests, workers, requests % 3 == 0 ? 4 : 1, true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(NarrowCuda, LargerStepsTakeTheGeneralKernels) {
  check(4097, 132, 1, false);
  check(5000, 264, 2, false);
  check(100, 497, 1, false);
  check(4096, 4096, 1, false);
}

TEST_F(NarrowCuda, OnlyPlainStepsTakeThem) {
  EngineStep step(four_classes(132, 1), 8, 1, 1);
  const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(step.planner());
  ASSERT_TRUE(preparer.ok());
  EXPECT_TRUE(preparer->takes_narrow(step.step));
  std::vector<std::int64_t> wide(16, 5);
  std::vector<std::int32_t> spread(17, 5), table(8 * kColumns);
  StepArguments other = step.step;
  other.lens = std::span<const std::int64_t>(wide).first(8);
  EXPECT_FALSE(preparer->takes_narrow(other));
  other = step.step;
  other.lens = {spread.data(), 8, 2, IndexType::kI32};
  EXPECT_FALSE(preparer->takes_narrow(other));
  other.lens = {spread.data() + 1, 8, 1, IndexType::kI32};  // not aligned to 16 bytes
  EXPECT_FALSE(preparer->takes_narrow(other));
  other = step.step;
  other.lens_by_row = true;
  EXPECT_FALSE(preparer->takes_narrow(other));
  other = step.step;
  other.query_tokens = std::span<const std::int32_t>(spread).first(8);
  EXPECT_FALSE(preparer->takes_narrow(other));
  other = step.step;
  other.tables = TableContract::kDense;
  other.dense_pages = kColumns;
  other.page_table = {table.data(), 8, kColumns, kColumns};
  EXPECT_FALSE(preparer->takes_narrow(other));
  other = step.step;
  other.plans = {};
  other.counters = {};
  EXPECT_FALSE(preparer->takes_narrow(other));
}

TEST_F(NarrowCuda, FaultyLengthsAreForcedAsTheGeneralKernelsForceThem) {
  std::vector<std::int32_t> lens = {5, -1, 3, 2000000000, -2000000000, 1024, 0, 1025};
  for (const std::int32_t delta : {0, 7, -7}) {
    SCOPED_TRACE(delta);
    std::vector<std::vector<std::int32_t>> outputs;
    for (const StepKernels kernels : {StepKernels::kFastest, StepKernels::kGeneral}) {
      EngineStep step(four_classes(132, 4), 8, 4, 3);
      step.step.num_active = nullptr;
      step.step.lens = std::span<const std::int32_t>(lens);
      step.step.len_delta = delta;
      step.step.add_query_tokens = false;
      std::vector<std::int32_t> out(9, kSentinel), sums(10, kSentinel), slots(33, kSentinel);
      step.step.out_lens = std::span<std::int32_t>(out);
      step.step.cu_seqlens_k = std::span<std::int32_t>(sums);
      step.step.slots = std::span<std::int32_t>(slots);
      const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(step.planner());
      ASSERT_TRUE(preparer.ok());
      DeviceMirror mirror(stream_->get());
      const StepArguments device = mirror.mirror(step.step, step.planner());
      EXPECT_TRUE(preparer->takes_narrow(device));
      *status_->data() = 0;
      ASSERT_TRUE(
          preparer->prepare(device, {status_->data(), false, kernels}, stream_->get()).ok());
      ASSERT_EQ(cudaStreamSynchronize(stream_->get()), cudaSuccess);
      EXPECT_EQ(*status_->data(), static_cast<std::uint32_t>(StepFault::kLength));
      mirror.bring_back();
      outputs.push_back(out);
      outputs.push_back(sums);
      outputs.push_back(slots);
      for (std::int32_t c = 0; c < 4; ++c) {
        const std::byte* plan = step.step.plans[static_cast<std::size_t>(c)];
        const Result<PlanView> view = PlanView::open({plan, step.planner().plan_bytes(c)},
                                                     step.planner().planner(c).geometry());
        ASSERT_TRUE(view.ok()) << to_string(view.status());
        const std::vector<std::int32_t> forced(out.begin(), out.begin() + 8);
        const std::vector<std::int32_t> tokens(8, 4);
        const Status sound =
            check_plan(*view, {forced, tokens}, step.planner().planner(c).cost_model());
        EXPECT_TRUE(sound.ok()) << to_string(sound);
      }
    }
    EXPECT_EQ(outputs[0], outputs[3]);
    EXPECT_EQ(outputs[1], outputs[4]);
    EXPECT_EQ(outputs[2], outputs[5]);
  }
}

}  // namespace
}  // namespace onebeat
