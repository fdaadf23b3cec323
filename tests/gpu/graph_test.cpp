// SPDX-License-Identifier: Apache-2.0
// One captured step, replayed hundreds of times while requests join, grow over tile edges and
// leave: prepare_step, appends and attention of several layers against the CPU twins (plan bytes,
// sums, slots and page rows byte by byte) and against fp64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "device/cuda_device.h"
#include "plan/division.h"
#include "serving_for_test.h"
#include "serving_kernels.h"

namespace onebeat::gpu_test {
namespace {

class CudaGraphTest : public testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
    facts_ = *facts;
    stream_ = value_of(CudaStream::create());
  }

  /// `steps` replays; the batch goes to a new size every few steps, 0 and B_max among them.
  void serve(Serving& serving, std::int32_t most_requests, int steps, int oracle_every) {
    int empty = 0;
    int full = 0;
    std::int32_t wanted = most_requests;
    for (int step = 0; step < steps; ++step) {
      SCOPED_TRACE(testing::Message() << "step " << step);
      if (step % 7 == 0) {
        const int turn = step / 7 % 6;
        wanted = turn == 2   ? 0
                 : turn == 4 ? most_requests
                             : serving.random_below(most_requests + 1);
      }
      serving.change_batch(wanted);
      if (HasFatalFailure()) return;
      empty += serving.active() == 0 ? 1 : 0;
      full += serving.active() == most_requests ? 1 : 0;
      serving.step(step % oracle_every == 0);
      if (HasFatalFailure()) return;
    }
    serving.expect_same_cache();
    EXPECT_GT(empty, 0);
    EXPECT_GT(full, 0);
  }

  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  CudaDeviceFacts facts_;
  CudaStream stream_;
};

StepClass class_of(std::int32_t heads, std::int32_t kv_heads, std::int32_t dim, std::int32_t page,
                   std::int32_t workers) {
  StepClass c;
  AttentionGeometry& g = c.geometry;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = g.head_dim_v = dim;
  g.page_tokens = page;
  g.workers = workers;
  const Result<CudaAttentionTuning> tuning = cuda_attention_tuning(dim, KvType::kBF16, 132);
  EXPECT_TRUE(tuning.ok());
  g.tile_tokens = tuning->tile_tokens;
  return c;
}

StepClass windowed(StepClass c, std::int32_t window_left) {
  c.geometry.window_left = window_left;
  return c;
}

StepClass chunked(StepClass c, std::int32_t chunk_tokens) {
  c.geometry.chunk_tokens = chunk_tokens;
  return c;
}

StepClass with_query_tokens(StepClass c, std::int32_t most) {
  c.geometry.max_query_tokens = most;
  return c;
}

ServingOptions full_and_windowed() {
  const StepClass full = class_of(8, 2, 64, 16, 64);
  return {.classes = {full, windowed(full, 150)}, .layers = {0, 1, 0, 1}};
}

TEST_F(CudaGraphTest, FullAndWindowedLayers) {
  Serving serving(full_and_windowed(), stream());
  EXPECT_EQ(serving.graph().kernel_nodes(), 1 + 4 * 2 + 1);  // one prepares, one attends a layer
  serve(serving, 12, 500, 20);
}

TEST_F(CudaGraphTest, FullAndChunkedLayersInPagesOfOneToken) {
  const StepClass full = class_of(4, 1, 128, 1, 100);
  Serving serving({.classes = {full, chunked(full, 96)},
                   .layers = {0, 1, 1},
                   .context = 500,
                   .prompt = 300,
                   .layout = KvLayout::kRuns,
                   .seed = 2},
                  stream());
  serve(serving, 12, 500, 50);
}

// The tuned plan and the largest pages; long requests beside short ones.
TEST_F(CudaGraphTest, TunedPlanOfTheWholeDevice) {
  StepClass full = class_of(16, 2, 128, 64, 1);
  const CudaAttentionTuning tuning =
      value_of(cuda_attention_tuning(128, KvType::kBF16, facts_.multiprocessors));
  full.geometry.workers = tuning.workers;
  full.cost = tuning.cost;
  Serving serving({.classes = {full, windowed(full, 511)},
                   .layers = {0, 1},
                   .most_requests = 6,
                   .context = 5000,
                   .prompt = 4600,
                   .seed = 3},
                  stream());
  serve(serving, 6, 120, 30);
}

// No class sees all tokens: pages behind all windows are poisoned and go to other requests, under
// several query tokens, which begin the windows of a step.
TEST_F(CudaGraphTest, PagesBehindWindowsBelongToOthers) {
  const StepClass wide = with_query_tokens(windowed(class_of(16, 2, 64, 16, 48), 200), 4);
  Serving serving({.classes = {wide, windowed(wide, 33)},
                   .layers = {0, 1, 0},
                   .context = 1200,
                   .prompt = 700,
                   .unequal_query_tokens = true,
                   .free_behind_windows = true,
                   .seed = 4},
                  stream());
  serve(serving, 12, 500, 50);
}

// 16 query heads of a KV head times 8 query tokens: two query tiles, several passes over the cache.
TEST_F(CudaGraphTest, ManyQueryRowsOfAKvHead) {
  for (const std::int32_t dim : {64, 128}) {
    const StepClass full = with_query_tokens(class_of(32, 2, dim, 16, 70), 8);
    Serving serving({.classes = {full, windowed(full, 120)},
                     .layers = {0, 1},
                     .most_requests = 8,
                     .unequal_query_tokens = true,
                     .seed = 7},
                    stream());
    serve(serving, 8, 84, 21);
    if (HasFatalFailure()) return;
  }
}

// The host decides the next steps while the device runs this one, and waits for none; what is in
// flight reads its own slot of the ring, and pages that were given up in between stay what they
// were until the steps that name them are complete.
TEST_F(CudaGraphTest, TheHostRunsAhead) {
  const StepClass wide = with_query_tokens(windowed(class_of(8, 2, 64, 16, 48), 130), 2);
  Serving serving({.classes = {wide, windowed(wide, 40)},
                   .layers = {0, 1},
                   .unequal_query_tokens = true,
                   .free_behind_windows = true,
                   .seed = 9},
                  stream());
  for (int group = 0; group < 60; ++group) {
    SCOPED_TRACE(testing::Message() << "group " << group);
    for (int ahead = 0; ahead < 9; ++ahead) {
      serving.change_batch(serving.random_below(13));
      serving.step_ahead();
      if (HasFatalFailure()) return;
    }
    ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    ASSERT_EQ(serving.faults(), 0u);
    serving.expect_same(group % 10 == 0);
    serving.expect_same_cache();
    if (HasFatalFailure()) return;
  }
}

// For kernels of others, and for ours: tables [B, pages] made in every step.
TEST_F(CudaGraphTest, TablesMadeByTheStep) {
  for (const TableContract tables : {TableContract::kLive, TableContract::kDense}) {
    ServingOptions options = full_and_windowed();
    options.tables = tables;
    options.seed = 8;
    Serving serving(options, stream());
    serve(serving, 12, 126, 42);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaGraphTest, OrdinaryLaunchesGiveTheSame) {
  for (const CudaOverlap overlap : {CudaOverlap::kNone, CudaOverlap::kLaunch}) {
    ServingOptions options = full_and_windowed();
    options.overlap = overlap;
    options.seed = 5;
    Serving serving(options, stream());
    serve(serving, 12, 100, 50);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaGraphTest, EveryKernelServesAGraph) {
  for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
    SCOPED_TRACE(std::string(variant.name));
    const std::int32_t page = std::max(variant.min_page_tokens, 8);
    StepClass full = with_query_tokens(class_of(16, 2, variant.head_dim, page, 64), 2);
    full.geometry.tile_tokens = variant.tile_tokens;
    if (variant.batch_invariant) full.geometry.invariant_chunk_tokens = variant.tile_tokens;
    Serving serving({.classes = {full, windowed(full, 90)},
                     .layers = {0, 1},
                     .unequal_query_tokens = true,
                     .variant = variant.name,
                     .seed = 6},
                    stream());
    serve(serving, 12, 84, 42);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaGraphTest, SanitizerAFewReplays) {
  ServingOptions options = full_and_windowed();
  options.classes[1] = windowed(options.classes[1], 40);
  options.layers = {0, 1};
  options.most_requests = 4;
  options.context = 300;
  options.prompt = 250;
  Serving serving(options, stream());
  serve(serving, 4, 36, 36);

  const StepClass wide = with_query_tokens(windowed(class_of(16, 2, 128, 1, 48), 70), 3);
  Serving windows({.classes = {wide, chunked(wide, 50)},
                   .layers = {0, 1},
                   .most_requests = 4,
                   .context = 300,
                   .prompt = 250,
                   .unequal_query_tokens = true,
                   .free_behind_windows = true,
                   .layout = KvLayout::kRuns},
                  stream());
  serve(windows, 4, 36, 36);
}

// Whatever the numbers that only the device sees hold, it forces them into their ranges, reports
// that, plans soundly, and the next step knows nothing of it. The memory checker sees the bounds.
TEST_F(CudaGraphTest, SanitizerNumbersOfAnyKindStayInBounds) {
  const StepClass wide = with_query_tokens(class_of(8, 2, 64, 8, 40), 3);
  ServingOptions options{.classes = {wide, windowed(wide, 60)},
                         .layers = {0, 1},
                         .most_requests = 6,
                         .context = 400,
                         .prompt = 300,
                         .unequal_query_tokens = true};
  Serving serving(options, stream());
  int reported = 0;
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    serving.change_batch(serving.random_below(7));
    serving.stage();
    serving.scramble();
    serving.replay();
    ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    reported += serving.faults() != 0 ? 1 : 0;
    for (std::int32_t c = 0; c < 2; ++c) {
      const std::vector<PlanHeader> plan = serving.plan(c).fetch(stream());
      const auto bytes = std::as_bytes(std::span(plan)).first(plan.front().size_bytes);
      const Status sound =
          PlanView::open(bytes, options.classes[static_cast<std::size_t>(c)].geometry).status();
      ASSERT_TRUE(sound.ok()) << to_string(sound);
    }
    serving.restore();
    serving.poison_scratch();
    serving.forget_results();
    serving.replay();
    serving.run_on_host();
    serving.expect_same(false);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(reported, 30);
}

// A step that stops in the middle: every other worker never ran, so that units lack arrivals,
// counters are left over and scratch holds halves. Lengths were not advanced. The next replay, of
// the same batch or of another, is right.
TEST_F(CudaGraphTest, SanitizerAnAbortedReplayLeavesTheNextOneRight) {
  ServingOptions options = full_and_windowed();
  options.layers = {0, 1};  // a second layer's arrivals would complete the first one's
  Serving serving(options, stream());
  const auto lose_workers = [&](cudaStream_t s) -> Status {
    for (std::int32_t c = 0; c < 2; ++c) {
      Twin<PlanHeader>& plan = serving.plan(c);
      constexpr std::uint32_t kWorkers = 64;
      auto* records = reinterpret_cast<std::byte*>(plan.device.data()) +
                      plan::layout_of(kWorkers, 12).workers_offset;
      ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemset2DAsync(records, 2 * sizeof(WorkerRecord), 0,
                                                     sizeof(WorkerRecord), kWorkers / 2, s));
    }
    return {};
  };
  const CudaGraph aborted = value_of(serving.capture(lose_workers, false));
  int dirty = 0;
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    serving.change_batch(1 + serving.random_below(12));
    serving.stage();
    ASSERT_TRUE(aborted.launch(serving.stream()).ok());
    ASSERT_EQ(cudaStreamSynchronize(serving.stream()), cudaSuccess);
    for (std::int32_t c = 0; c < 2; ++c) {
      const std::vector<std::uint32_t> left = serving.counters(c);
      dirty +=
          std::any_of(left.begin(), left.end(), [](std::uint32_t x) { return x != 0; }) ? 1 : 0;
    }
    if (round % 2 == 0) serving.poison_scratch();
    if (round % 3 == 0) {  // the same step again: its inputs are still there
      serving.forget_results();
      serving.replay();
      serving.run_on_host();
      serving.expect_same(false);
    } else {
      serving.prepare_on_host();  // page updates travelled with the aborted step
      serving.change_batch(serving.random_below(13));
      serving.step();
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(dirty, 6) << "the replays were not as incomplete as this test wants them";
}

// CTAs start whenever a neighbour that spins for random times lets them: parts arrive in any order,
// the merge adds them in the workers' order.
TEST_F(CudaGraphTest, RandomDelaysDoNotChangeABit) {
  const CudaStream noise = value_of(CudaStream::create());
  const StepClass full = class_of(8, 2, 64, 16, 200);
  Serving serving({.classes = {full, windowed(full, 300)},
                   .layers = {0, 1},
                   .most_requests = 5,
                   .context = 3000,
                   .prompt = 2500},
                  stream());
  for (int batch = 0; batch < 4; ++batch) {
    serving.change_batch(batch + 2);
    serving.step();
    if (HasFatalFailure()) return;
    const auto quiet = std::vector{serving.output_bits(0), serving.output_bits(1)};
    // Replays that do not advance see what the staged lengths say: the same step again.
    const CudaGraph again = value_of(serving.capture([](cudaStream_t) { return Status(); }, false));
    serving.stage();
    ASSERT_TRUE(again.launch(stream()).ok());
    ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    const auto first = std::vector{serving.output_bits(0), serving.output_bits(1)};
    EXPECT_NE(first, quiet);  // another step
    for (int turn = 0; turn < 60; ++turn) {
      SCOPED_TRACE(testing::Message() << "batch " << batch << ", turn " << turn);
      serving.forget_results();
      ASSERT_EQ(launch_noise(static_cast<std::uint32_t>(batch * 100 + turn),
                             4 * facts_.multiprocessors, 2 + turn, noise.get()),
                cudaSuccess);
      ASSERT_TRUE(again.launch(stream()).ok());
      ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
      ASSERT_EQ(serving.output_bits(0), first[0]);
      ASSERT_EQ(serving.output_bits(1), first[1]);
      ASSERT_EQ(serving.faults(), 0u);
      ASSERT_TRUE(noise.synchronize().ok());
    }
    serving.forget_results();
    serving.replay();
    serving.run_on_host();
    serving.expect_same(true);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace onebeat::gpu_test
