// SPDX-License-Identifier: Apache-2.0
// Planner and kernel that disagree, plans that are out of date, numbers beyond limits: refused on
// the host where the host can see it, and in a captured graph, where nobody asks the host, by the
// kernel, which then touches nothing but the status word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/step_cuda.h"
#include "twin_memory.h"

namespace onebeat::gpu_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

AttentionGeometry geometry_of(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim,
                              std::int32_t page) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = dim;
  g.page_tokens = page;
  g.tile_tokens = value_of(cuda_attention_tuning(dim, KvType::kBF16, 132)).tile_tokens;
  g.workers = 132;
  return g;
}

/// A step whose plan is made for one geometry and executed with another one. The cache is finite,
/// outputs and scratch are a pattern.
class Rig {
 public:
  Rig(const AttentionGeometry& planned, const AttentionGeometry& executed, std::int32_t requests,
      std::int32_t context, cudaStream_t stream, std::string_view kernels = "")
      : executed_(executed), requests_(requests), stream_(stream) {
    const StepClass of_class{planned, {}};
    planner_ = std::make_unique<StepPlanner>(
        value_of(StepPlanner::create(std::span(&of_class, 1), planned.page_tokens,
                                     {requests, std::int64_t{context}, planned.max_query_tokens})));
    preparer_ = std::make_unique<CudaStepPreparer>(value_of(CudaStepPreparer::create(*planner_)));
    attention_ = std::make_unique<CudaDecodeAttention>(
        value_of(CudaDecodeAttention::create(executed, kernels)));
    EXPECT_EQ(attention_->variant().name.substr(0, kernels.size()), kernels);
    const auto own = value_of(Planner::create(executed, {}, {requests, std::int64_t{context}}));
    const ScratchSize size = own.scratch_size();
    plan_ = Twin<PlanHeader>(
        std::max(planner_->plan_bytes(0), own.plan_bytes()) / sizeof(PlanHeader) + 1, PlanHeader(),
        stream);
    outputs_ = Twin<float>(static_cast<std::size_t>(size.output_floats), 7.0f, stream);
    stats_ = Twin<float>(static_cast<std::size_t>(size.stats_floats), 7.0f, stream);
    counters_ = Twin<std::uint32_t>(static_cast<std::size_t>(size.counters), 0, stream);
    columns_ = (context + executed.page_tokens - 1) / executed.page_tokens;
    pages_ = Twin<std::int32_t>(static_cast<std::size_t>(requests * columns_), 0, stream);
    for (std::size_t i = 0; i < pages_.host.size(); ++i)
      pages_.host[i] = static_cast<std::int32_t>(i);
    pages_.send(stream);
    lens_ = Twin<std::int32_t>(static_cast<std::size_t>(requests), 1, stream);
    active_ = Twin<std::int32_t>(1, requests, stream);
    const std::size_t pool =
        pages_.host.size() *
        static_cast<std::size_t>(executed.page_tokens * executed.num_kv_heads * executed.head_dim);
    k_ = Twin<std::uint16_t>(pool, 0x3f00, stream);  // 0.5
    v_ = Twin<std::uint16_t>(pool, 0x3f40, stream);  // 0.75
    const std::size_t rows =
        static_cast<std::size_t>(requests * executed.max_query_tokens * executed.num_heads);
    q_ = Twin<std::uint16_t>(rows * static_cast<std::size_t>(executed.head_dim), 0x3f00, stream);
    out_ = Twin<std::uint16_t>(q_.host.size(), 0xffff, stream);
    lse_ = Twin<float>(rows, 7.0f, stream);
    faults_ = value_of(PinnedBuffer<std::uint32_t>::allocate(1));
    *faults_.data() = 0;
  }

  [[nodiscard]] StepArguments step() {
    StepArguments s;
    s.num_requests = requests_;
    s.num_active = active_.device.data();
    s.lens = {lens_.device.data(), requests_, 1, IndexType::kI32};
    s.query_tokens_each = planner_->limits().max_query_tokens;
    s.plans[0] = reinterpret_cast<std::byte*>(plan_.device.data());
    s.counters[0] = counters_.device.data();
    return s;
  }
  /// As the kernel's own geometry has it: what a graph would have recorded.
  [[nodiscard]] CudaPlan plan() {
    return {reinterpret_cast<const std::byte*>(plan_.device.data()), plan_stamp(executed_),
            executed_.workers, requests_};
  }
  [[nodiscard]] CudaAttentionLaunch launch() {
    const std::int64_t tokens = std::int64_t{requests_} * executed_.max_query_tokens;
    CudaAttentionLaunch l;
    l.q = dense_head_rows<const std::uint16_t>(q_.device.data(), tokens, executed_.num_heads,
                                               executed_.head_dim);
    l.out = dense_head_rows(out_.device.data(), tokens, executed_.num_heads, executed_.head_dim);
    l.lse = {lse_.device.data(), static_cast<std::int64_t>(lse_.host.size()), 0,
             executed_.num_heads, 1};
    l.score.scale = 0.125f;
    l.kv = make_kv_pool(executed_, KvLayout::kNhd, static_cast<std::int64_t>(pages_.host.size()),
                        k_.device.data(), v_.device.data());
    l.pages = {pages_.device.data(), columns_, requests_, columns_, nullptr};
    l.faults = faults_.data();
    return l;
  }
  [[nodiscard]] AttentionScratch scratch() {
    return {{outputs_.device.data(), outputs_.device.size()},
            {stats_.device.data(), stats_.device.size()},
            {counters_.device.data(), counters_.device.size()}};
  }
  [[nodiscard]] Status attend(const CudaPlan& plan, const CudaAttentionLaunch& launch) {
    return attention_->launch(plan, launch, scratch(), stream_);
  }
  [[nodiscard]] Status prepare() {
    return preparer_->prepare(step(), {faults_.data(), false}, stream_);
  }
  [[nodiscard]] CudaGraph capture(bool with_prepare) {
    return value_of(CudaGraph::capture(stream_, [&](cudaStream_t) -> Status {
      if (with_prepare) ONEBEAT_RETURN_IF_ERROR(prepare());
      return attend(plan(), launch());
    }));
  }
  void set_lengths(std::int32_t active, std::int32_t len) {
    active_.host[0] = active;
    active_.send(stream_);
    std::fill(lens_.host.begin(), lens_.host.end(), len);
    lens_.send(stream_);
  }
  void expect_untouched(const std::string& what) {
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << what;
    EXPECT_TRUE(out_.equal(stream_)) << what;
    EXPECT_TRUE(lse_.equal(stream_)) << what;
    EXPECT_TRUE(outputs_.equal(stream_)) << what;
    EXPECT_TRUE(stats_.equal(stream_)) << what;
    EXPECT_TRUE(counters_.equal(stream_)) << what;
    EXPECT_TRUE(k_.equal(stream_) && v_.equal(stream_)) << what;
  }
  /// Rows of the first `requests` hold 0.75, the value of every V; the others are untouched.
  void expect_attended(std::int32_t requests, std::int32_t len, const std::string& what) {
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << what;
    const std::vector<std::uint16_t> out = out_.fetch(stream_);
    const std::vector<float> lse = lse_.fetch(stream_);
    const std::size_t heads = static_cast<std::size_t>(executed_.num_heads);
    const std::size_t live = static_cast<std::size_t>(requests) * heads;
    const std::size_t dim = static_cast<std::size_t>(executed_.head_dim);
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], i < live * dim ? 0x3f40 : 0xffff) << what << ", element " << i;
    }
    // All scores are alike: D * 0.5 * 0.5 * scale.
    const double expected = static_cast<double>(dim) * 0.25 * 0.125 + std::log(len);
    for (std::size_t i = 0; i < lse.size(); ++i) {
      ASSERT_NEAR(static_cast<double>(lse[i]), i < live ? expected : 7.0, 1e-3) << what;
    }
  }
  void forget() {
    out_.send(stream_);
    lse_.send(stream_);
    outputs_.send(stream_);
    stats_.send(stream_);
    *faults_.data() = 0;
  }
  [[nodiscard]] std::uint32_t& faults() { return *faults_.data(); }
  [[nodiscard]] Twin<std::int32_t>& pages() { return pages_; }
  [[nodiscard]] const CudaStepPreparer& preparer() const { return *preparer_; }
  [[nodiscard]] cudaStream_t stream() const { return stream_; }

 private:
  AttentionGeometry executed_;
  std::int32_t requests_, columns_ = 0;
  cudaStream_t stream_;
  std::unique_ptr<StepPlanner> planner_;
  std::unique_ptr<CudaStepPreparer> preparer_;
  std::unique_ptr<CudaDecodeAttention> attention_;
  Twin<PlanHeader> plan_;
  Twin<float> outputs_, stats_, lse_;
  Twin<std::uint32_t> counters_;
  Twin<std::int32_t> pages_, lens_, active_;
  Twin<std::uint16_t> k_, v_, q_, out_;
  PinnedBuffer<std::uint32_t> faults_;
};

class CudaRefusalTest : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
    stream_ = value_of(CudaStream::create());
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }
  static void expect_refused(const Status& status, StatusCode code,
                             const testing::Matcher<const std::string&>& message) {
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_THAT(status.message(), message);
  }

 private:
  CudaStream stream_;
};

/// Families of kernels, each of which refuses for itself.
constexpr std::string_view kFamilies[] = {"mma", "wgmma"};

constexpr auto kForeign = static_cast<std::uint32_t>(kFaultPlan);

// Heads divided by the world's size in the planner and by the attention group's in the kernel. The
// lengths are those at which a plan for one KV head begins to split more than one for eight, and a
// long one.
TEST_F(CudaRefusalTest, SanitizerAPlannerOfOneKvHeadAndAKernelOfEight) {
  const HeadCounts model{64, 8};
  const HeadCounts of_world = value_of(heads_of_rank(model, 8));
  const HeadCounts of_group = value_of(heads_of_rank(model, 1));
  ASSERT_EQ(of_world.num_kv_heads, 1);
  ASSERT_EQ(of_group.num_kv_heads, 8);
  const AttentionGeometry planned = geometry_of(of_world.num_heads, of_world.num_kv_heads, 128, 64);
  const AttentionGeometry executed =
      geometry_of(of_group.num_heads, of_group.num_kv_heads, 128, 64);
  for (const std::string_view family : kFamilies) {
    Rig rig(planned, executed, 2, 16384, stream(), family);
    Rig sound(executed, executed, 2, 16384, stream(), family);
    const CudaGraph graph = rig.capture(true);
    const CudaGraph sound_graph = sound.capture(true);
    for (const std::int32_t len : {2048, 2175, 2176, 2177, 4096, 16383, 16384}) {
      const std::string what = std::string(family) + ", length " + std::to_string(len);
      rig.set_lengths(2, len);
      CudaPlan honest = rig.plan();
      honest.stamp = plan_stamp(planned);
      expect_refused(rig.attend(honest, rig.launch()), StatusCode::kPlanMismatch,
                     HasSubstr("planner and attention must share one geometry"));
      ASSERT_TRUE(graph.launch(stream()).ok());
      rig.expect_untouched(what);
      EXPECT_EQ(rig.faults(), kForeign) << what;
      rig.faults() = 0;

      sound.forget();
      sound.set_lengths(2, len);
      ASSERT_TRUE(sound_graph.launch(stream()).ok());
      sound.expect_attended(2, len, what);
      EXPECT_EQ(sound.faults(), 0u) << what;
    }
  }
}

// Every field that decides how work is divided: refused on the host, with both stamps in the
// message, and in the kernel.
TEST_F(CudaRefusalTest, SanitizerAPlanOfAnyOtherGeometry) {
  AttentionGeometry g = geometry_of(8, 2, 64, 16);
  g.max_query_tokens = 2;
  g.window_left = 100;
  const std::vector<std::pair<const char*, void (*)(AttentionGeometry&)>> changes = {
      {"query heads", [](AttentionGeometry& x) { x.num_heads = 16; }},
      {"KV heads", [](AttentionGeometry& x) { x.num_kv_heads = 4; }},
      {"head size", [](AttentionGeometry& x) { x.head_dim = x.head_dim_v = 128; }},
      {"page", [](AttentionGeometry& x) { x.page_tokens = 32; }},
      {"tile", [](AttentionGeometry& x) { x.tile_tokens /= 2; }},
      {"workers", [](AttentionGeometry& x) { x.workers = 131; }},
      {"window", [](AttentionGeometry& x) { x.window_left = 101; }},
      {"no window", [](AttentionGeometry& x) { x.window_left = -1; }},
      {"chunk", [](AttentionGeometry& x) { x.chunk_tokens = 64; }},
      {"query tokens", [](AttentionGeometry& x) { x.max_query_tokens = 1; }},
      {"causal", [](AttentionGeometry& x) { x.causal = false; }}};
  for (const std::string_view family : kFamilies) {
    for (const auto& [what, change] : changes) {
      SCOPED_TRACE(testing::Message() << family << ", " << what);
      AttentionGeometry planned = g;
      change(planned);
      Rig rig(planned, g, 3, 700, stream(), family);
      CudaPlan honest = rig.plan();
      honest.stamp = plan_stamp(planned);
      honest.workers = planned.workers;
      expect_refused(rig.attend(honest, rig.launch()), StatusCode::kPlanMismatch,
                     AllOf(HasSubstr("the plan has stamp"), HasSubstr("and 132")));
      const CudaGraph graph = rig.capture(true);
      for (const std::int32_t len : {0, 300, 700}) {
        rig.set_lengths(len == 0 ? 0 : 3, std::max(len, 2));
        rig.faults() = 0;
        ASSERT_TRUE(graph.launch(stream()).ok());
        rig.expect_untouched(what);
        EXPECT_EQ(rig.faults(), len == 0 ? 0u : kForeign) << "length " << len;
      }
    }
  }
}

TEST_F(CudaRefusalTest, TensorsOfAnotherGeometryAreNamedWithTheirNumbers) {
  const AttentionGeometry g = geometry_of(8, 2, 64, 16);
  Rig rig(g, g, 3, 700, stream());
  const auto refused = [&](void (*change)(CudaAttentionLaunch&), StatusCode code,
                           const testing::Matcher<const std::string&>& message) {
    CudaAttentionLaunch launch = rig.launch();
    change(launch);
    expect_refused(rig.attend(rig.plan(), launch), code, message);
  };
  using Launch = CudaAttentionLaunch;
  refused([](Launch& l) { l.kv.num_kv_heads = 1; }, StatusCode::kPlanMismatch,
          AllOf(HasSubstr("KV pool has pages of 16 tokens, 1 heads"), HasSubstr("16, 2 of 64")));
  refused([](Launch& l) { l.kv.page_tokens = 64; }, StatusCode::kPlanMismatch,
          HasSubstr("KV pool has pages of 64 tokens"));
  refused([](Launch& l) { l.q.num_heads = 64; }, StatusCode::kPlanMismatch,
          HasSubstr("query has 64 heads of 64; the geometry has 8 of 64"));
  refused([](Launch& l) { l.out.dim = 128; }, StatusCode::kPlanMismatch,
          HasSubstr("output has 8 heads of 128; the geometry has 8 of 64"));
  refused([](Launch& l) { l.lse.size = 3; }, StatusCode::kInvalidArgument,
          HasSubstr("log-sum-exp has 3 floats"));
  refused([](Launch& l) { l.pages.num_columns = 0; }, StatusCode::kInvalidArgument,
          HasSubstr("the page map is 3 x 0"));
  refused([](Launch& l) { l.score.scale = 0; }, StatusCode::kInvalidArgument,
          HasSubstr("attention scale is 0"));
  refused([](Launch& l) { l.faults = nullptr; }, StatusCode::kInvalidArgument,
          HasSubstr("a launch needs a word for faults"));
  AttentionScratch small = rig.scratch();
  small.counters = small.counters.first(10);
  CudaDecodeAttention attention = value_of(CudaDecodeAttention::create(g));
  expect_refused(attention.launch(rig.plan(), rig.launch(), small, stream()),
                 StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("10 counters"), HasSubstr("are needed")));
  rig.expect_untouched("refused launches");
}

// The batch grew after the plan was made. The host refuses a plan whose inputs have moved on, if it
// is told; a graph that replays attention alone executes the lengths of the plan, never live ones.
TEST_F(CudaRefusalTest, SanitizerAStalePlanAfterTheBatchGrew) {
  const AttentionGeometry g = geometry_of(8, 2, 64, 16);
  for (const std::string_view family : kFamilies) {
    SCOPED_TRACE(family);
    Rig rig(g, g, 5, 2000, stream(), family);
    rig.set_lengths(3, 500);
    ASSERT_TRUE(rig.prepare().ok());
    const CudaGraph attention_alone = rig.capture(false);
    ASSERT_TRUE(attention_alone.launch(stream()).ok());
    rig.expect_attended(3, 500, "fresh");
    rig.forget();

    rig.set_lengths(5, 2000);
    CudaPlan plan = rig.plan();
    plan.version = 41;
    CudaAttentionLaunch launch = rig.launch();
    launch.inputs_version = 42;
    expect_refused(rig.attend(plan, launch), StatusCode::kPlanMismatch,
                   AllOf(HasSubstr("version 41"), HasSubstr("version 42"), HasSubstr("prepare")));
    rig.expect_untouched("refused by the host");
    launch.inputs_version = 41;
    EXPECT_TRUE(rig.attend(plan, launch).ok());
    rig.expect_attended(3, 500, "the version that the plan was made from");
    rig.forget();

    ASSERT_TRUE(attention_alone.launch(stream()).ok());
    rig.expect_attended(3, 500, "stale in a graph");
    EXPECT_EQ(rig.faults(), 0u);
  }
}

TEST_F(CudaRefusalTest, SanitizerPageIdsOutOfRangeAreClampedInAGraph) {
  const AttentionGeometry g = geometry_of(8, 2, 64, 16);
  for (const std::string_view family : kFamilies) {
    SCOPED_TRACE(family);
    Rig rig(g, g, 3, 320, stream(), family);
    const CudaGraph graph = rig.capture(true);
    for (const std::int32_t bad : {-1, 60, 0x7fffffff, -0x7fffffff}) {
      rig.forget();
      rig.set_lengths(3, 320);
      rig.pages().host[25] = bad;  // of the second request
      rig.pages().send(stream());
      ASSERT_TRUE(graph.launch(stream()).ok());
      rig.expect_attended(3, 320, "page id " + std::to_string(bad));  // all V are alike
      EXPECT_EQ(rig.faults(), static_cast<std::uint32_t>(kFaultPageId)) << bad;
      // A length that does not reach the page does not read it.
      rig.forget();
      rig.set_lengths(3, 80);
      ASSERT_TRUE(graph.launch(stream()).ok());
      rig.expect_attended(3, 80, "short");
      EXPECT_EQ(rig.faults(), 0u) << bad;
    }
  }
}

TEST_F(CudaRefusalTest, LimitsExceeded) {
  const AttentionGeometry g = geometry_of(8, 2, 64, 16);
  Rig rig(g, g, 3, 320, stream());
  StepArguments step = rig.step();
  step.num_requests = 4;
  expect_refused(rig.preparer().prepare(step, {}, stream()), StatusCode::kOutOfRange,
                 HasSubstr("the step has 4 requests; this planner takes 0 to 3"));
  step = rig.step();
  step.query_tokens_each = 2;
  expect_refused(rig.preparer().prepare(step, {}, stream()), StatusCode::kOutOfRange,
                 HasSubstr("query_tokens_each is 2; this planner takes 0 to 1"));
  step = rig.step();
  step.lens.size = 2;
  expect_refused(rig.preparer().prepare(step, {}, stream()), StatusCode::kOutOfRange,
                 HasSubstr("lens holds 2 numbers; the step needs 3"));

  // Lengths and counts that only the device sees are forced into their limits and reported.
  const CudaGraph graph = rig.capture(true);
  rig.forget();
  rig.set_lengths(3, 321);
  ASSERT_TRUE(graph.launch(stream()).ok());
  rig.expect_attended(3, 320, "a length beyond the limit");
  EXPECT_EQ(rig.faults(), static_cast<std::uint32_t>(StepFault::kLength));
  rig.forget();
  rig.set_lengths(4, 100);
  ASSERT_TRUE(graph.launch(stream()).ok());
  rig.expect_attended(3, 100, "more requests than the graph was captured for");
  EXPECT_EQ(rig.faults(), static_cast<std::uint32_t>(StepFault::kActive));
}

// These ask no device.
TEST(CudaRefusals, GeometriesThatNoKernelServes) {
  const AttentionGeometry g = geometry_of(8, 2, 64, 16);
  const auto refused = [&](void (*change)(AttentionGeometry&), StatusCode code,
                           const testing::Matcher<const std::string&>& message) {
    AttentionGeometry other = g;
    change(other);
    const Status status = CudaDecodeAttention::create(other).status();
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_THAT(status.message(), message);
  };
  refused(
      [](AttentionGeometry& x) {
        x.kv_type = KvType::kF8E4M3;
        x.head_dim = x.head_dim_v = 80;
      },
      StatusCode::kUnsupported, AllOf(HasSubstr("80 and a fp8 e4m3"), HasSubstr("64, 128")));
  refused([](AttentionGeometry& x) { x.kv_type = KvType::kF32; }, StatusCode::kUnsupported,
          AllOf(HasSubstr("fp32"), HasSubstr("none")));
  refused([](AttentionGeometry& x) { x.head_dim = x.head_dim_v = 80; }, StatusCode::kUnsupported,
          AllOf(HasSubstr("80"), HasSubstr("64, 96, 128, 192, 256")));
  refused([](AttentionGeometry& x) { x.head_dim_v = 128; }, StatusCode::kUnsupported,
          HasSubstr("64 and 128"));
  refused([](AttentionGeometry& x) { x.tile_tokens = 32; }, StatusCode::kPlanMismatch,
          HasSubstr("the geometry has 32"));
  refused([](AttentionGeometry& x) { x.invariant_chunk_tokens = x.tile_tokens + 1; },
          StatusCode::kInvalidArgument, HasSubstr("invariant_chunk_tokens"));
  refused([](AttentionGeometry& x) { x.num_heads = 9; }, StatusCode::kInvalidArgument,
          AllOf(HasSubstr("9"), HasSubstr("2")));
  refused([](AttentionGeometry& x) { x.max_query_tokens = 17; }, StatusCode::kOutOfRange,
          AllOf(HasSubstr("17"), HasSubstr("16")));
  refused([](AttentionGeometry& x) { x.page_tokens = 24; }, StatusCode::kInvalidArgument,
          HasSubstr("24"));
  refused([](AttentionGeometry& x) { x.workers = 5000; }, StatusCode::kOutOfRange,
          AllOf(HasSubstr("5000"), HasSubstr("4096")));
}

}  // namespace
}  // namespace onebeat::gpu_test
