// SPDX-License-Identifier: Apache-2.0
// 32-bit arithmetic gives the numbers of the 64-bit one wherever it says that it fits.
#include "plan/narrow_division.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "plan/plan_fixture.h"

namespace onebeat::plan {
namespace {

void expect_same_cuts(const NarrowDivision& n, const std::vector<RequestRecord>& requests,
                      std::uint32_t total) {
  const Division& d = n.base;
  const std::uint32_t active = active_workers(d, total);
  ASSERT_EQ(narrow_active_workers(n, total), active);
  if (active == 0) return;
  const Pace pace = pace_of(d, total, active);
  const NarrowPace narrow = narrow_pace(n, total, active);
  std::uint32_t r = 0;
  for (std::uint32_t w = 0; w < active; ++w) {
    SCOPED_TRACE(testing::Message() << "cut " << w << " of " << active);
    const CutPlace place = place_of_cut(pace, w);
    const NarrowPlace narrow_cut_place = narrow_place(narrow, w);
    ASSERT_EQ(2 * std::uint64_t{narrow_cut_place.cost} + narrow_cut_place.half, place.halves);
    ASSERT_EQ(narrow_cut_place.exact, place.exact);
    while (r + 1 < requests.size() && begins_at_or_before_cut(requests[r + 1].cost_begin, place)) {
      ++r;
    }
    // The search compares costs without the half.
    ASSERT_LE(requests[r].cost_begin, narrow_cut_place.cost);
    if (r + 1 < requests.size()) {
      ASSERT_GT(requests[r + 1].cost_begin, narrow_cut_place.cost);
    }
    const Cut cut = cut_in_request(d, r, requests[r], place);
    const NarrowCut got =
        narrow_cut(n, requests[r].len, requests[r].first,
                   static_cast<std::uint32_t>(requests[r].cost_begin), narrow_cut_place);
    ASSERT_EQ(got.unit, cut.unit);
    ASSERT_EQ(got.tile, cut.tile);
    ASSERT_EQ(got.at_start, at_unit_start(d, cut, requests[r]));
    ASSERT_EQ(got.at_end, at_unit_end(d, cut, requests[r]));
  }
}

TEST(NarrowDivision, EqualsTheWideOneWhereItFits) {
  plan_fixture::RandomCases cases(31);
  int fitting = 0;
  for (int i = 0; i < 20000; ++i) {
    SCOPED_TRACE(testing::Message() << "case " << i << " of seed 31");
    const plan_fixture::Case c = cases.next();
    const Division d = make_division(c.geometry, c.cost, c.limits);
    const auto tokens = static_cast<std::uint32_t>(c.geometry.max_query_tokens);
    const std::int32_t longest =
        c.lens.empty() ? 0 : *std::max_element(c.lens.begin(), c.lens.end());
    if (!fits_narrow(d, c.lens.size(), static_cast<std::uint32_t>(longest), tokens)) continue;
    ++fitting;
    const NarrowDivision n = narrow_division(d, tokens);
    std::vector<RequestRecord> requests;
    std::uint64_t total = 0;
    for (const std::int32_t len : c.lens) {
      const auto ulen = static_cast<std::uint32_t>(len);
      const std::uint32_t first = first_visible_token(d, ulen, tokens);
      requests.push_back({total, ulen, first});
      const std::uint64_t cost = units_of(d, tokens) * unit_cost(d, ulen, first);
      ASSERT_EQ(narrow_first(n, ulen), first);
      ASSERT_EQ(narrow_end_tile(n, ulen), end_tile(d, ulen));
      ASSERT_EQ(narrow_request_cost(n, ulen), cost);
      total += cost;
    }
    ASSERT_LT(total, 0xffffffffu);
    expect_same_cuts(n, requests, static_cast<std::uint32_t>(total));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(fitting, 5000);
}

TEST(NarrowDivision, RefusesWhatDoesNotFit) {
  plan_fixture::Case c;
  c.geometry.num_heads = 32;
  c.geometry.num_kv_heads = 8;
  c.geometry.head_dim = c.geometry.head_dim_v = 128;
  c.geometry.tile_tokens = 64;
  c.limits = {4096, 1 << 24};
  const Division d = make_division(c.geometry, c.cost, c.limits);
  const std::uint64_t unit = unit_cost(d, 1 << 17, 0);
  const auto most = static_cast<std::uint64_t>(0xfffffffeu / (8 * unit));
  EXPECT_TRUE(fits_narrow(d, most, 1 << 17, 1));
  EXPECT_FALSE(fits_narrow(d, most + 1, 1 << 17, 1));
  EXPECT_FALSE(fits_narrow(d, 1, 1u << 30, 1));
  EXPECT_FALSE(fits_narrow(d, 1, 64, 0));
}

}  // namespace
}  // namespace onebeat::plan
