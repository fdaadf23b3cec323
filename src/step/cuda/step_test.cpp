// SPDX-License-Identifier: Apache-2.0
// The device twin of prepare_step against the CPU twin and the definition: plans byte by byte on
// random batches, tables in every layout, whole random steps, replays of one graph, faulty inputs.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"
#include "plan/plan_fixture.h"
#include "step/cuda/device_mirror_for_test.h"
#include "step/decode_batch_for_test.h"
#include "step/random_step_for_test.h"

namespace onebeat {
namespace {

using step_test::BatchShape;
using step_test::DecodeBatch;
using step_test::DeviceMirror;
using step_test::RandomStep;
using step_test::RowOrder;

class StepCuda : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_.emplace(std::move(CudaStream::create()).value());
    status_.emplace(std::move(PinnedBuffer<std::uint32_t>::allocate(1)).value());
    *status_->data() = 0;
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_->get(); }

  /// One launch, waited for. Returns the fault bits.
  std::uint32_t run(const StepPlanner& planner, const StepArguments& device) {
    *status_->data() = 0;
    const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(planner);
    EXPECT_TRUE(preparer.ok()) << to_string(preparer.status());
    const Status launched = preparer->prepare(device, {status_->data()}, stream());
    EXPECT_TRUE(launched.ok()) << to_string(launched);
    EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    return *status_->data();
  }

  void check_tables(const BatchShape& shape, std::uint64_t seed = 1) {
    DecodeBatch batch(shape, seed);
    const Result<StepPlanner> planner =
        StepPlanner::create({}, batch.shape.page_tokens, batch.limits());
    ASSERT_TRUE(planner.ok());
    DeviceMirror mirror(stream());
    EXPECT_EQ(run(*planner, mirror.mirror(batch.arguments(), *planner)), 0u);
    mirror.bring_back();
    batch.check();
  }

  std::optional<CudaStream> stream_;
  std::optional<PinnedBuffer<std::uint32_t>> status_;
};

/// Device memory for the inputs and the plan of one class, used by one random case after another.
class PlanRunner {
 public:
  PlanRunner(std::size_t most_requests, std::size_t most_bytes, cudaStream_t stream)
      : lens_(std::move(DeviceBuffer<std::int32_t>::allocate(most_requests)).value()),
        query_tokens_(std::move(DeviceBuffer<std::int32_t>::allocate(most_requests)).value()),
        plan_(std::move(DeviceBuffer<std::byte>::allocate(most_bytes)).value()),
        stream_(stream) {}

  /// Compares the device's plan of `c` with the CPU planner's, bytes that no plan writes included.
  void check(const plan_fixture::Case& c, std::uint32_t* status) {
    const StepClass of_class{c.geometry, c.cost};
    const Result<StepPlanner> planner = StepPlanner::create(
        std::span(&of_class, 1), c.geometry.page_tokens,
        {c.limits.max_requests, c.limits.max_context_tokens, c.geometry.max_query_tokens});
    if (!planner.ok()) return;  // limits beyond 64-bit costs
    plan_fixture::PlanBytes expected(planner->plan_bytes(0));
    const Result<PlanView> made = planner->planner(0).make_plan(c.batch(), expected.span());
    ASSERT_TRUE(made.ok()) << to_string(made.status());

    ASSERT_LE(planner->plan_bytes(0), plan_.size());
    ASSERT_LE(c.lens.size(), lens_.size());
    ASSERT_TRUE(plan_.fill_bytes(0xa5, stream_).ok());
    ASSERT_TRUE(lens_.upload(c.lens, stream_).ok());
    ASSERT_TRUE(query_tokens_.upload(c.query_tokens, stream_).ok());
    StepArguments step;
    step.num_requests = static_cast<std::int32_t>(c.lens.size());
    step.lens = {lens_.data(), step.num_requests, 1, IndexType::kI32};
    step.query_tokens_each = c.geometry.max_query_tokens;
    if (!c.query_tokens.empty()) {
      step.query_tokens = {query_tokens_.data(), step.num_requests, 1, IndexType::kI32};
    }
    step.plans[0] = plan_.data();
    const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(*planner);
    ASSERT_TRUE(preparer.ok()) << to_string(preparer.status());
    const Status launched = preparer->prepare(step, {status}, stream_);
    ASSERT_TRUE(launched.ok()) << to_string(launched);
    got_.resize(planner->plan_bytes(0));
    ASSERT_EQ(cudaMemcpyAsync(got_.data(), plan_.data(), got_.size(), cudaMemcpyDefault, stream_),
              cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    ASSERT_EQ(*status, 0u);
    const auto bytes = expected.span();
    const auto [g, e] = std::mismatch(got_.begin(), got_.end(), bytes.begin());
    ASSERT_TRUE(g == got_.end()) << "byte " << (g - got_.begin()) << " of " << got_.size() << ", "
                                 << c.lens.size() << " requests, " << c.geometry.workers
                                 << " workers";
  }

 private:
  DeviceBuffer<std::int32_t> lens_, query_tokens_;
  DeviceBuffer<std::byte> plan_;
  cudaStream_t stream_;
  std::vector<std::byte> got_;
};

TEST_F(StepCuda, PlansEqualTheCpuPlannersBytes) {
  constexpr int kCases = 20000;
  plan_fixture::RandomCases cases(77);
  PlanRunner runner(4096, std::size_t{1} << 20, stream());
  for (int i = 0; i < kCases; ++i) {
    SCOPED_TRACE(testing::Message() << "case " << i << " of seed 77");
    runner.check(cases.next(), status_->data());
    if (HasFatalFailure()) return;
  }
}

TEST_F(StepCuda, PlansOfLargeBatchesEqualTheCpuPlannersBytes) {
  PlanRunner runner(65536, std::size_t{8} << 20, stream());
  plan_fixture::RandomCases random(78);
  for (const std::int32_t requests :
       {255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 10000, 65535, 65536}) {
    for (int variant = 0; variant < 3; ++variant) {
      SCOPED_TRACE(testing::Message() << requests << " requests, variant " << variant);
      plan_fixture::Case c;
      c.geometry.num_heads = 32;
      c.geometry.num_kv_heads = 8;
      c.geometry.head_dim = c.geometry.head_dim_v = 128;
      c.geometry.workers = variant == 2 ? 4096 : 132;
      c.geometry.window_left = variant == 1 ? 1000 : -1;
      c.geometry.max_query_tokens = variant == 1 ? 4 : 1;
      c.limits = {65536, 1 << 20};
      for (std::int32_t r = 0; r < requests; ++r) {
        c.lens.push_back(r % 7 == 0 ? 0 : random.uniform(4, r % 11 == 0 ? 100000 : 600));
        if (variant == 1) c.query_tokens.push_back(random.uniform(0, 4));
      }
      runner.check(c, status_->data());
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(StepCuda, TablesInEveryLayout) {
  for (const TableContract contract : {TableContract::kDense, TableContract::kLive}) {
    for (const std::int32_t page : {1, 2, 16, 64, 128}) {
      for (const bool window : {false, true}) {
        for (const IndexType type : {IndexType::kI32, IndexType::kI64}) {
          for (const std::int64_t gaps : {0, 1}) {
            SCOPED_TRACE(testing::Message()
                         << (contract == TableContract::kLive ? "live" : "dense") << ", page "
                         << page << ", window " << window << ", wide " << (type == IndexType::kI64)
                         << ", gaps " << gaps);
            check_tables({.requests = 67,
                          .max_len = 700,
                          .page_tokens = page,
                          .window = window,
                          .len_delta = 1,
                          .min_len = 0,
                          .contract = contract,
                          .map_rows = 80,
                          .order = gaps == 0 ? RowOrder::kPermuted : RowOrder::kRepeated,
                          .len_type = type,
                          .row_type = type,
                          .map_type = type,
                          .window_type = type,
                          .gaps = gaps});
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST_F(StepCuda, TablesOfManyWidthsAndBatches) {
  for (const std::int64_t pages : {5, 6, 7, 259, 511, 1024, 1025, 1026, 1027, 2049, 5000}) {
    for (const std::int64_t columns : {pages, pages + 3, (pages + 3) / 4 * 4}) {
      SCOPED_TRACE(testing::Message() << pages << " of " << columns);
      for (const TableContract contract : {TableContract::kDense, TableContract::kLive}) {
        check_tables({.requests = 3,
                      .max_len = static_cast<std::int32_t>(pages),
                      .min_len = 0,
                      .contract = contract,
                      .dense_pages = pages,
                      .map_columns = columns});
      }
    }
  }
  for (const std::int32_t requests : {0, 1, 63, 64, 65, 256, 257, 1025, 3000}) {
    SCOPED_TRACE(requests);
    for (const TableContract contract : {TableContract::kDense, TableContract::kLive}) {
      check_tables({.requests = requests,
                    .max_len = 300,
                    .page_tokens = 4,
                    .window = true,
                    .min_len = 0,
                    .contract = contract,
                    .order = RowOrder::kPermuted});
    }
  }
  check_tables({.requests = 5, .max_len = 64, .dense_pages = 0});
  for (const std::int32_t active : {0, 1, 17, 64}) {
    check_tables({.requests = 64, .max_len = 100, .page_tokens = 4, .active = active});
  }
}

TEST_F(StepCuda, WholeStepsEqualTheCpuTwin) {
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const std::int32_t most = seed % 40 == 0 ? 5000 : seed % 7 == 0 ? 1500 : 80;
    RandomStep cpu(seed, most);
    RandomStep gpu(seed, most);
    Result<StepPlanner> planner = cpu.make_planner();
    ASSERT_TRUE(planner.ok()) << to_string(planner.status());
    const Status prepared = planner->prepare(cpu.arguments(*planner));
    ASSERT_TRUE(prepared.ok()) << to_string(prepared);
    DeviceMirror mirror(stream());
    ASSERT_EQ(run(*planner, mirror.mirror(gpu.arguments(*planner), *planner)), 0u);
    mirror.bring_back();
    const char* difference = gpu.first_difference(cpu);
    ASSERT_EQ(difference, nullptr) << difference;
  }
}

/// Two classes, lengths that grow in the test's hands, a graph of several steps.
TEST_F(StepCuda, GraphReplaysFollowLengthsAndActiveRequests) {
  constexpr std::int32_t kRequests = 256;
  std::vector<StepClass> classes(2);
  for (StepClass& of_class : classes) {
    AttentionGeometry& g = of_class.geometry;
    g.num_heads = 32;
    g.num_kv_heads = 8;
    g.head_dim = g.head_dim_v = 128;
    g.workers = 132;
  }
  classes[1].geometry.window_left = 1023;
  Result<StepPlanner> planner = StepPlanner::create(classes, 16, {kRequests, 100000, 1});
  ASSERT_TRUE(planner.ok());
  const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(*planner);
  ASSERT_TRUE(preparer.ok()) << to_string(preparer.status());

  std::int32_t active = kRequests;
  std::vector<std::int32_t> lens(kRequests, 1);
  std::vector<plan_fixture::PlanBytes> plans, expected;
  for (std::int32_t c = 0; c < 2; ++c) {
    plans.emplace_back(planner->plan_bytes(c));
    expected.emplace_back(planner->plan_bytes(c));
  }
  StepArguments host;
  host.num_requests = kRequests;
  host.num_active = &active;
  host.lens = std::span<const std::int32_t>(lens);
  for (std::size_t c = 0; c < 2; ++c) host.plans[c] = plans[c].span().data();
  for (const bool programmatic : {false, true}) {
    DeviceMirror mirror(stream());
    const StepArguments device = mirror.mirror(host, *planner);
    const Result<CudaGraph> graph = CudaGraph::capture(stream(), [&](cudaStream_t s) -> Status {
      for (int i = 0; i < 3; ++i) {
        ONEBEAT_RETURN_IF_ERROR(preparer->prepare(device, {status_->data(), programmatic}, s));
      }
      return {};
    });
    ASSERT_TRUE(graph.ok()) << to_string(graph.status());
    EXPECT_EQ(graph->kernel_nodes(), 3);
    plan_fixture::RandomCases random(5);
    for (int step = 0; step < 500; ++step) {
      SCOPED_TRACE(testing::Message() << "step " << step << ", programmatic " << programmatic);
      active = step % 17 == 0 ? 0 : random.uniform(0, kRequests);
      for (std::int32_t& len : lens) len = len > 90000 ? 1 : len + random.uniform(1, 70);
      ASSERT_EQ(cudaMemcpyAsync(const_cast<std::int32_t*>(device.num_active), &active, 4,
                                cudaMemcpyDefault, stream()),
                cudaSuccess);
      ASSERT_EQ(cudaMemcpyAsync(const_cast<void*>(device.lens.data), lens.data(), lens.size() * 4,
                                cudaMemcpyDefault, stream()),
                cudaSuccess);
      ASSERT_TRUE(graph->launch(stream()).ok());
      mirror.bring_back();
      const std::span<const std::int32_t> live(lens.data(), static_cast<std::size_t>(active));
      for (std::int32_t c = 0; c < 2; ++c) {
        const auto at = static_cast<std::size_t>(c);
        // Records of requests that take no part now keep what earlier steps left there.
        const Result<PlanView> view = PlanView::open(plans[at].span(), classes[at].geometry);
        ASSERT_TRUE(view.ok()) << to_string(view.status());
        ASSERT_TRUE(planner->planner(c).make_plan({live, {}}, expected[at].span()).ok());
        ASSERT_EQ(std::memcmp(plans[at].span().data(), expected[at].span().data(),
                              planner->plan_bytes(c)),
                  0)
            << "class " << c;
      }
    }
    std::fill(lens.begin(), lens.end(), 1);
    for (std::size_t c = 0; c < 2; ++c) {
      plans[c] = plan_fixture::PlanBytes(planner->plan_bytes(0));
      expected[c] = plan_fixture::PlanBytes(planner->plan_bytes(0));
      host.plans[c] = plans[c].span().data();
    }
  }
}

class FaultyStep : public StepCuda {
 protected:
  std::uint32_t run_faulty(const StepArguments& host, const StepPlanner& planner) {
    DeviceMirror mirror(stream());
    const std::uint32_t faults = run(planner, mirror.mirror(host, planner));
    mirror.bring_back();
    return faults;
  }
  static std::uint32_t bit(StepFault fault) { return static_cast<std::uint32_t>(fault); }
};

TEST_F(FaultyStep, NumbersThatTheHostCannotSeeAreForcedAndReported) {
  StepClass of_class;
  of_class.geometry.num_heads = 8;
  of_class.geometry.num_kv_heads = 2;
  of_class.geometry.head_dim = of_class.geometry.head_dim_v = 64;
  of_class.geometry.page_tokens = 8;
  of_class.geometry.workers = 16;
  of_class.geometry.max_query_tokens = 4;
  Result<StepPlanner> planner = StepPlanner::create(std::span(&of_class, 1), 8, {4, 100, 4});
  ASSERT_TRUE(planner.ok());
  std::vector<std::int32_t> lens = {9, 10, 32}, rows = {2, 0, 1}, counts = {1, 1, 1};
  std::vector<std::int32_t> page_rows = {10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33};
  std::vector<std::int32_t> out_lens(3, -77), slots(6, -77), begin = {0, 0, 1, 1};
  std::vector<PageUpdate> updates = {{1, 40}};
  std::int32_t active = 3;
  plan_fixture::PlanBytes plan(planner->plan_bytes(0));
  StepArguments step;
  step.num_requests = 3;
  step.num_active = &active;
  step.lens = std::span<const std::int32_t>(lens);
  step.query_tokens = std::span<const std::int32_t>(counts);
  step.rows_of = std::span<const std::int32_t>(rows);
  step.page_map = PageMapKind::kPages;
  step.pages = {page_rows.data(), 3, 4, 4};
  step.pool_pages = 64;
  step.updates = {begin.data(), updates.data(), 1, page_rows.data()};
  step.out_lens = std::span<std::int32_t>(out_lens);
  step.slots = std::span<std::int32_t>(slots);
  step.plans[0] = plan.span().data();

  const auto plan_is_sound = [&](std::vector<std::int32_t> forced_lens,
                                 std::vector<std::int32_t> forced_counts) {
    const Result<PlanView> view = PlanView::open(plan.span(), of_class.geometry);
    ASSERT_TRUE(view.ok()) << to_string(view.status());
    const Status sound =
        check_plan(*view, {forced_lens, forced_counts}, planner->planner(0).cost_model());
    EXPECT_TRUE(sound.ok()) << to_string(sound);
  };

  EXPECT_EQ(run_faulty(step, *planner), 0u);
  EXPECT_EQ(slots, (std::vector<std::int32_t>{248, 40 * 8 + 1, 184 + 7, -77, -77, -77}));
  EXPECT_EQ(page_rows[1], 40);

  lens = {33, 10, 32};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kLength));
  EXPECT_EQ(out_lens, (std::vector<std::int32_t>{32, 10, 32}));
  plan_is_sound({32, 10, 32}, counts);
  lens = {-5, 10, 32};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kLength));
  plan_is_sound({0, 10, 32}, counts);
  lens = {9, 10, 32};

  counts = {1, 9, 1};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kQueryTokens));
  plan_is_sound({9, 10, 32}, {1, 4, 1});
  counts = {4, 4, 4};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kRoom));
  counts = {1, 1, 1};

  rows = {2, 0, 3};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kRow));
  rows = {2, -1, 1};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kRow));
  rows = {2, 0, 1};

  page_rows[9] = 64;  // page 1 of request 0
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kSlot));
  EXPECT_EQ(slots[0], -1);
  page_rows[9] = 31;

  updates = {{4, 40}};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kUpdate));
  begin = {0, 0, 2, 2};
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kUpdate));
  begin = {0, 0, 0, 0};

  active = 4;
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kActive));
  plan_is_sound({9, 10, 32}, counts);
  active = -1;
  EXPECT_EQ(run_faulty(step, *planner), bit(StepFault::kActive));
  plan_is_sound({}, {});
}

TEST_F(FaultyStep, TheHostRefusesWhatItSeesAndLaunchesNothing) {
  const Result<StepPlanner> planner = StepPlanner::create({}, 8, {4, 100, 1});
  const Result<CudaStepPreparer> preparer = CudaStepPreparer::create(*planner);
  ASSERT_TRUE(preparer.ok());
  std::vector<std::int32_t> lens = {1, 2, 3, 4}, out(4, -77);
  DeviceMirror mirror(stream());
  StepArguments host;
  host.num_requests = 4;
  host.lens = std::span<const std::int32_t>(lens);
  host.out_lens = std::span<std::int32_t>(out);
  StepArguments device = mirror.mirror(host, *planner);
  device.num_requests = 5;
  EXPECT_EQ(preparer->prepare(device, {}, stream()).code(), StatusCode::kOutOfRange);
  device.num_requests = 4;
  device.query_tokens_each = 2;
  EXPECT_EQ(preparer->prepare(device, {}, stream()).code(), StatusCode::kOutOfRange);
  device.query_tokens_each = 1;
  device.out_lens.size = 3;
  EXPECT_EQ(preparer->prepare(device, {}, stream()).code(), StatusCode::kOutOfRange);
  mirror.bring_back();
  EXPECT_EQ(out, std::vector<std::int32_t>(4, -77));
}

}  // namespace
}  // namespace onebeat
