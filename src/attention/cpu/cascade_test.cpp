// SPDX-License-Identifier: Apache-2.0
// A cascade gives what attention without one gives.
#include "onebeat/cascade.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "attention/poisoned_batch_for_test.h"

namespace onebeat {
namespace {

struct Aligned {
  explicit Aligned(std::size_t bytes) : headers(bytes / sizeof(PlanHeader) + 1), size(bytes) {}
  std::span<std::byte> span() { return std::as_writable_bytes(std::span(headers)).first(size); }
  std::vector<PlanHeader> headers;
  std::size_t size;
};

/// Scratch for any plan of a planner.
struct Scratch {
  explicit Scratch(const ScratchSize& size)
      : outputs(static_cast<std::size_t>(size.output_floats), PoisonedBatch::kNaN),
        stats(static_cast<std::size_t>(size.stats_floats), PoisonedBatch::kNaN),
        counters(static_cast<std::size_t>(size.counters), 0) {}
  AttentionScratch view() { return {outputs, stats, counters}; }
  std::vector<float> outputs, stats;
  std::vector<std::uint32_t> counters;
};

/// Lets requests [begin, end) read the first `tokens` tokens from the pages of the first of them.
void share_pages(PoisonedBatch& batch, const SharedPrefix& shared) {
  const std::int64_t pages = shared.tokens / batch.options.geometry.page_tokens;
  const auto row = [&](std::int32_t r) {
    return batch.page_ids.begin() + r * batch.launch.pages.row_stride;
  };
  for (std::int32_t r = shared.begin + 1; r < shared.end; ++r)
    std::copy_n(row(shared.begin), pages, row(r));
}

/// `shared` becomes whether the step was done with a cascade at all.
void expect_cascade(PoisonedBatch& batch, const std::vector<SharedPrefix>& prefixes,
                    const std::string& what, bool& shared) {
  const AttentionGeometry& g = batch.options.geometry;
  for (const SharedPrefix& prefix : prefixes) share_pages(batch, prefix);
  const auto requests = static_cast<std::int32_t>(batch.options.lens.size());
  const auto planner = CascadePlanner::create(g, {}, {requests, 1 << 14}, {});
  ASSERT_TRUE(planner.ok()) << to_string(planner.status());
  Aligned own_bytes(planner->own_planner().plan_bytes());
  Aligned prefix_bytes(planner->prefix_planner().plan_bytes());
  std::vector<std::int32_t> numbers(planner->numbers());
  const auto plan = planner->make_plan(batch.plan_batch(), prefixes,
                                       {own_bytes.span(), prefix_bytes.span(), numbers});
  ASSERT_TRUE(plan.ok()) << to_string(plan.status());
  shared = plan->prefix.has_value();
  if (!shared) return;

  const auto pool = make_pool_for_test(2);
  const float* sinks = batch.launch.score.sinks;
  std::vector<float> out(batch.out.size(), PoisonedBatch::kNaN);
  std::vector<float> lse(batch.lse.size(), PoisonedBatch::kNaN);
  AttentionLaunch launch = batch.launch;
  launch.score.sinks = nullptr;
  Scratch own_scratch(planner->own_planner().scratch_size());
  Status status = decode_attention(*plan->own, launch, own_scratch.view(), *pool);
  ASSERT_TRUE(status.ok()) << to_string(status);
  launch.out.data = out.data();
  launch.lse.data = lse.data();
  launch.pages.row_of = plan->page_row_request.data();
  Scratch prefix_scratch(planner->prefix_planner().scratch_size());
  status = decode_attention(*plan->prefix, launch, prefix_scratch.view(), *pool);
  ASSERT_TRUE(status.ok()) << to_string(status);
  const auto state = [&](float* rows, float* of) {
    return AttentionState{rows,        of, launch.out.token_stride, launch.out.head_stride,
                          g.num_heads, 1};
  };
  const std::vector<AttentionState> states{state(batch.out.data(), batch.lse.data()),
                                           state(out.data(), lse.data())};
  status = merge_states({RowType::kF32, batch.query_begin.back(), g.num_heads, g.head_dim_v, states,
                         states[0], sinks},
                        *pool);
  ASSERT_TRUE(status.ok()) << to_string(status);
  batch.expect_oracle(what);
}

AttentionGeometry cascade_geometry(std::int32_t heads, std::int32_t kv_heads) {
  AttentionGeometry g;
  g.num_heads = heads;
  g.num_kv_heads = kv_heads;
  g.head_dim = 64;
  g.head_dim_v = 72;
  g.page_tokens = 8;
  g.tile_tokens = 32;
  g.workers = 13;
  return g;
}

TEST(CascadeOnTheCpu, AgreesWithTheOracle) {
  for (const bool sinks : {false, true}) {
    AttentionGeometry g = cascade_geometry(6, 2);
    PoisonedBatch batch({.geometry = g,
                         .lens = {130, 0, 300, 257, 300, 1, 999, 65, 70},
                         .direct = false,
                         .sinks = sinks});
    bool shared = false;
    expect_cascade(batch, {{2, 5, 256}, {7, 9, 64}}, "T 1", shared);
    ASSERT_TRUE(shared);
    if (HasFatalFailure()) return;
    g.max_query_tokens = 3;
    PoisonedBatch drafted({.geometry = g,
                           .lens = {130, 300, 257, 300, 40, 40},
                           .query_tokens = {1, 2, 3, 0, 3, 3},
                           .direct = false,
                           .sinks = sinks});
    expect_cascade(drafted, {{1, 4, 256}, {4, 6, 32}}, "T up to 3", shared);
    ASSERT_TRUE(shared);
    if (HasFatalFailure()) return;
  }
}

TEST(CascadeOnTheCpu, RandomBatches) {
  int cascades = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::int32_t n) {
      return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
    };
    const std::int32_t kv_heads = 1 + below(3);
    AttentionGeometry g = cascade_geometry(kv_heads * (1 + below(20)), kv_heads);
    g.max_query_tokens = 1 + below(4);
    g.workers = 1 + below(60);
    BatchOptions options{.geometry = g, .direct = false, .sinks = below(2) == 0, .seed = seed};
    std::vector<SharedPrefix> prefixes;
    std::int32_t requests = below(3);
    options.lens.assign(static_cast<std::size_t>(requests), 20 + below(100));
    for (int i = 1 + below(3); i > 0; --i) {
      const std::int32_t members = 2 + below(25);
      const std::int32_t tokens = 32 * (1 + below(5));
      prefixes.push_back({requests, requests + members, tokens});
      for (std::int32_t m = 0; m < members; ++m)
        options.lens.push_back(tokens + g.max_query_tokens + below(80));
      requests += members;
      if (below(2) == 0) options.lens.push_back(4 + below(90)), ++requests;
    }
    PoisonedBatch batch(options);
    bool shared = false;
    expect_cascade(batch, prefixes, "seed " + std::to_string(seed), shared);
    if (HasFatalFailure()) return;
    cascades += shared ? 1 : 0;
  }
  EXPECT_GE(cascades, 30);  // the others would have saved nothing
}

}  // namespace
}  // namespace onebeat
