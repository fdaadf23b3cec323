// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "onebeat/plan.h"
#include "plan/division.h"
#include "plan/plan_fixture.h"

namespace onebeat {
namespace {

using plan_fixture::Case;
using plan_fixture::PlanBytes;
using plan_fixture::RandomCases;
using ::testing::HasSubstr;

AttentionGeometry llama(std::int32_t workers = 132) {
  AttentionGeometry g;
  g.num_heads = 32;
  g.num_kv_heads = 8;
  g.head_dim = g.head_dim_v = 128;
  g.tile_tokens = 64;
  g.workers = workers;
  return g;
}

std::string describe(const Case& c) {
  std::string text =
      "H " + std::to_string(c.geometry.num_heads) + " G " +
      std::to_string(c.geometry.num_kv_heads) + " N " + std::to_string(c.geometry.tile_tokens) +
      " W " + std::to_string(c.geometry.workers) + " T " +
      std::to_string(c.geometry.max_query_tokens) + " window " +
      std::to_string(c.geometry.window_left) + " chunk " + std::to_string(c.geometry.chunk_tokens) +
      " invariant " + std::to_string(c.geometry.invariant_chunk_tokens) + " overhead " +
      std::to_string(c.cost.segment_overhead) + " min_tiles " + std::to_string(c.cost.min_tiles) +
      " lens";
  for (std::size_t r = 0; r < std::min<std::size_t>(c.lens.size(), 50); ++r) {
    text += " " + std::to_string(c.lens[r]);
    if (!c.query_tokens.empty()) text += "/" + std::to_string(c.query_tokens[r]);
  }
  return text;
}

TEST(Planner, CoversEveryTileOnceWithinTheBoundOnRandomBatches) {
  const std::uint64_t seed = 20240611;
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomCases cases(seed);
  int refused = 0;
  for (int i = 0; i < 10000; ++i) {
    const Case c = cases.next();
    const Result<Planner> planner = Planner::create(c.geometry, c.cost, c.limits);
    if (!planner.ok()) {  // only limits beyond 64-bit costs may be refused
      ASSERT_THAT(planner.status().message(), HasSubstr("64-bit costs")) << describe(c);
      ++refused;
      continue;
    }
    PlanBytes bytes(planner->plan_bytes());
    const Result<PlanView> plan = planner->make_plan(c.batch(), bytes.span());
    ASSERT_TRUE(plan.ok()) << plan.status().message() << "\n" << describe(c);
    const Status status = check_plan(*plan, c.batch(), c.cost);
    ASSERT_TRUE(status.ok()) << "case " << i << ": " << status.message() << "\n" << describe(c);
    ASSERT_TRUE(PlanView::open(bytes.span(), c.geometry).ok()) << describe(c);
  }
  EXPECT_LT(refused, 1000);
}

TEST(Planner, SameBatchGivesSameBytes) {
  RandomCases cases(7);
  for (int i = 0; i < 200; ++i) {
    const Case c = cases.next();
    const Result<Planner> planner = Planner::create(c.geometry, c.cost, c.limits);
    if (!planner.ok()) continue;
    PlanBytes a(planner->plan_bytes()), b(planner->plan_bytes());
    ASSERT_TRUE(planner->make_plan(c.batch(), a.span()).ok());
    ASSERT_TRUE(planner->make_plan(c.batch(), b.span()).ok());
    ASSERT_EQ(std::memcmp(a.span().data(), b.span().data(), planner->plan_bytes()), 0)
        << describe(c);
  }
}

double balance(const std::vector<std::int32_t>& lens) {
  const CostModel cost;
  const PlanLimits limits{static_cast<std::int32_t>(lens.size()), 1 << 20};
  const Result<Planner> planner = Planner::create(llama(), cost, limits);
  PlanBytes bytes(planner->plan_bytes());
  const Result<PlanView> plan = planner->make_plan({lens}, bytes.span());
  EXPECT_TRUE(plan.ok());
  EXPECT_TRUE(check_plan(*plan, {lens}, planner->cost_model()).ok());
  return balance_of(*plan, planner->cost_model()).balance;
}

TEST(Planner, BalancesSkewedGeometricAndEvenBatches) {
  std::vector<std::int32_t> skewed(32, 512);
  skewed[0] = 131072;
  EXPECT_LE(balance(skewed), 1.03);
  std::vector<std::int32_t> geometric;
  for (int i = 0; i < 64; ++i) {
    geometric.push_back(static_cast<std::int32_t>(128 * std::pow(256.0, i / 63.0)));
  }
  EXPECT_LE(balance(geometric), 1.03);
  EXPECT_LE(balance(std::vector<std::int32_t>(32, 8192)), 1.03);
}

TEST(Planner, EmptyStepHasNoActiveWorker) {
  const Planner planner = *Planner::create(llama(), {}, {8, 4096});
  PlanBytes bytes(planner.plan_bytes());
  const PlanView plan = *planner.make_plan({}, bytes.span());
  EXPECT_EQ(plan.header().workers_active, 0u);
  for (const WorkerRecord& worker : plan.workers()) EXPECT_EQ(worker.stamp, 0u);
  EXPECT_TRUE(check_plan(plan, {}, planner.cost_model()).ok());
}

TEST(Planner, RequestOfLengthZeroHasOneTilelessSegmentPerUnit) {
  const Planner planner = *Planner::create(llama(), {}, {8, 4096});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {0};
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  int segments = 0;
  for (std::uint32_t w = 0; w < plan.header().workers_active; ++w) {
    plan.for_each_segment(w, [&](const Segment& s) {
      EXPECT_EQ(s.tile_begin, s.tile_end);
      EXPECT_EQ(s.partials, 0u);
      ++segments;
    });
  }
  EXPECT_EQ(segments, 8);
}

TEST(Planner, RequestWithoutQueriesTakesNoPart) {
  AttentionGeometry geometry = llama();
  geometry.max_query_tokens = 4;
  const Planner planner = *Planner::create(geometry, {}, {8, 4096});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {100, 200, 300}, tokens = {1, 0, 4};
  const PlanView plan = *planner.make_plan({lens, tokens}, bytes.span());
  for (std::uint32_t w = 0; w < plan.header().workers_active; ++w) {
    plan.for_each_segment(w, [&](const Segment& s) { EXPECT_NE(s.request, 1u); });
  }
  EXPECT_EQ(plan.query_begin()[3], 5u);
}

TEST(Planner, WindowSkipsWhatNoQuerySees) {
  AttentionGeometry geometry = llama();
  geometry.window_left = 1023;
  const Planner planner = *Planner::create(geometry, {}, {1, 1 << 20});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {100000};
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  EXPECT_EQ(plan.requests()[0].first,
            100000u - 1024u);  // the query itself and 1,023 earlier tokens
  EXPECT_EQ(plan.header().total_cost,
            8u * (256 * 17 + 128));  // tokens 98,976 to 99,999 touch 17 tiles of 64
}

TEST(Planner, ChunkBeginsAtTheEarliestQuery) {
  AttentionGeometry geometry = llama();
  geometry.chunk_tokens = 1000;
  geometry.max_query_tokens = 4;
  const Planner planner = *Planner::create(geometry, {}, {2, 1 << 20});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {2002, 2004};  // earliest queries at 1,998 and 2,000
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  EXPECT_EQ(plan.requests()[0].first, 1000u);
  EXPECT_EQ(plan.requests()[1].first, 2000u);
}

TEST(Planner, ScratchDependsOnWorkersOnly) {
  const Planner small = *Planner::create(llama(), {}, {1, 128});
  const Planner large = *Planner::create(llama(), {}, {4096, 1 << 20});
  EXPECT_EQ(small.scratch_size().output_floats, large.scratch_size().output_floats);
  EXPECT_EQ(large.scratch_size().slots, 264);
  EXPECT_EQ(large.scratch_size().rows_per_slot, 4);
  EXPECT_EQ(large.scratch_size().output_floats, 264 * 4 * 128);
}

TEST(Planner, BatchInvariantModeCutsOnlyAtChunks) {
  AttentionGeometry geometry = llama();
  geometry.invariant_chunk_tokens = 256;
  const Planner planner = *Planner::create(geometry, {}, {4, 1 << 20});
  EXPECT_EQ(planner.scratch_size().nodes_per_slot, 12);  // 4,096 chunks
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {100000, 700, 3, 5000};
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  int cuts = 0;
  for (const WorkerRecord& worker : plan.workers()) {
    if (worker.continued_partials == 0) continue;
    EXPECT_EQ(worker.begin_tile % 4, 0u);
    ++cuts;
  }
  EXPECT_GT(cuts, 50);
}

TEST(Planner, TakesTotalsBeyond32Bits) {
  AttentionGeometry geometry = llama();
  const Planner planner = *Planner::create(geometry, {}, {64, 2147483647});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens(64, 2147483647);
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  EXPECT_EQ(plan.header().total_cost, 64ull * 8 * (256ull * 33554432 + 128));
  EXPECT_TRUE(check_plan(plan, {lens}, planner.cost_model()).ok());
}

TEST(Planner, TakesAsManyRequestsAsItsLimitSays) {
  const Planner planner = *Planner::create(llama(4096), {}, {65536, 1 << 17});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens(65536, 777);
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  EXPECT_EQ(plan.header().workers_active, 4096u);
  EXPECT_TRUE(check_plan(plan, {lens}, planner.cost_model()).ok());
}

TEST(Planner, RefusesWhatItCannotPlan) {
  const auto message = [](const AttentionGeometry& g, const CostModel& c, const PlanLimits& l) {
    const Result<Planner> planner = Planner::create(g, c, l);
    return planner.ok() ? std::string("accepted") : planner.status().message();
  };
  EXPECT_THAT(message(llama(), {}, {65537, 10}), HasSubstr("max_requests is 65537"));
  EXPECT_THAT(message(llama(), {}, {-1, 10}), HasSubstr("max_requests is -1"));
  EXPECT_THAT(message(llama(), {}, {1, 0}), HasSubstr("max_context_tokens is 0"));
  EXPECT_THAT(message(llama(), {}, {1, 1ll << 31}), HasSubstr("max_context_tokens is 2147483648"));
  EXPECT_THAT(message(llama(), {0, 1, 0}, {1, 10}), HasSubstr("segment_overhead is 0"));
  EXPECT_THAT(message(llama(), {1, 0, 0}, {1, 10}), HasSubstr("min_tiles is 0"));
  AttentionGeometry many = llama(4096);
  many.num_kv_heads = 1024;
  many.num_heads = 1024;
  many.tile_tokens = 8;
  EXPECT_THAT(message(many, {}, {65536, 2147483647}), HasSubstr("exceed 64-bit costs"));
}

TEST(Planner, RefusesBatchesBeyondItsLimits) {
  AttentionGeometry geometry = llama();
  geometry.max_query_tokens = 4;
  const Planner planner = *Planner::create(geometry, {}, {2, 4096});
  PlanBytes bytes(planner.plan_bytes());
  const auto message = [&](const std::vector<std::int32_t>& lens,
                           const std::vector<std::int32_t>& tokens) {
    return planner.make_plan({lens, tokens}, bytes.span()).status().message();
  };
  EXPECT_THAT(message({8, 8, 8}, {}),
              HasSubstr("3 requests in the step; this planner takes at most 2"));
  EXPECT_THAT(message({8, 4097}, {}),
              HasSubstr("request 1 has 4097 KV tokens; this planner takes 0 to 4096"));
  EXPECT_THAT(message({-1}, {}), HasSubstr("request 0 has -1 KV tokens"));
  EXPECT_THAT(message({8}, {5}), HasSubstr("request 0 has 5 query tokens"));
  EXPECT_THAT(message({8}, {-1}), HasSubstr("request 0 has -1 query tokens"));
  EXPECT_THAT(message({3}, {4}), HasSubstr("request 0 has 3 KV tokens and 4 query tokens"));
  EXPECT_THAT(message({8, 8}, {1}), HasSubstr("1 query counts for 2 requests"));
  const std::vector<std::int32_t> lens = {8};
  EXPECT_FALSE(planner.make_plan({lens}, bytes.span().first(100)).ok());
  EXPECT_FALSE(planner.make_plan({lens}, bytes.span().subspan(4)).ok());
}

TEST(Planner, WritesNothingBehindTheRecordsOfTheStep) {
  const Planner planner = *Planner::create(llama(), {}, {100, 4096});
  PlanBytes bytes(planner.plan_bytes());
  const std::vector<std::int32_t> lens = {8, 9, 10};
  const PlanView plan = *planner.make_plan({lens}, bytes.span());
  const std::size_t requests_end = plan.header().requests_offset + 4 * sizeof(RequestRecord);
  for (std::size_t i = requests_end; i < plan.header().queries_offset; ++i) {
    ASSERT_EQ(std::to_integer<int>(bytes.span()[i]), 0xa5) << i;
  }
  for (std::size_t i = plan.header().queries_offset + 16; i < planner.plan_bytes(); ++i) {
    ASSERT_EQ(std::to_integer<int>(bytes.span()[i]), 0xa5) << i;
  }
}

}  // namespace
}  // namespace onebeat
