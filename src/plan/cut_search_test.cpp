// SPDX-License-Identifier: Apache-2.0
// The search that each worker can do alone gives the bytes of the planner's walk.
#include "plan/cut_search.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "plan/plan_fixture.h"

namespace onebeat::plan {
namespace {

/// Requests as the search reads them, from a plan's own sections.
class PlannedRequests {
 public:
  explicit PlannedRequests(const PlanView& plan) : plan_(plan) {}
  std::uint32_t count() const { return plan_.header().num_active; }
  std::uint64_t cost_begin(std::uint32_t r) const { return plan_.requests()[r].cost_begin; }
  RequestRecord record(std::uint32_t r) const { return plan_.requests()[r]; }
  std::uint32_t query_tokens(std::uint32_t r) const { return plan_.query_tokens(r); }

 private:
  const PlanView& plan_;
};

std::vector<WorkerRecord> searched_workers(const Division& d, const PlanView& plan) {
  const PlannedRequests requests(plan);
  const std::uint64_t total = plan.requests()[requests.count()].cost_begin;
  const std::uint32_t active = active_workers(d, total);
  const Pace pace = active > 0 ? pace_of(d, total, active) : Pace{};
  std::vector<WorkerShare> shares;
  std::vector<std::uint32_t> passing((active + 1) / 32 + 1);
  for (std::uint32_t w = 0; w < active; ++w) {
    shares.push_back(share_between(d, requests, find_cut(d, requests, pace, w),
                                   find_cut(d, requests, pace, w + 1)));
    if (shares[w].passes) passing[(w + 1) / 32] |= 1u << ((w + 1) % 32);
  }
  std::vector<WorkerRecord> workers(d.workers);
  for (std::uint32_t w = 0; w < active; ++w) {
    set_partials(shares[w].record, shares[w].continues, shares[w].leaves, shares[w].passes,
                 passing.data(), w);
    workers[w] = shares[w].record;
  }
  return workers;
}

TEST(CutSearch, EqualsTheWalkOnRandomBatches) {
  plan_fixture::RandomCases cases(20240817);
  for (int i = 0; i < 20000; ++i) {
    SCOPED_TRACE(testing::Message() << "case " << i);
    const plan_fixture::Case c = cases.next();
    const Result<Planner> planner = Planner::create(c.geometry, c.cost, c.limits);
    if (!planner.ok()) continue;  // limits beyond 64-bit costs
    plan_fixture::PlanBytes bytes(planner->plan_bytes());
    const Result<PlanView> plan = planner->make_plan(c.batch(), bytes.span());
    ASSERT_TRUE(plan.ok()) << to_string(plan.status());
    const Division d = make_division(c.geometry, c.cost, c.limits);
    const std::vector<WorkerRecord> workers = searched_workers(d, *plan);
    ASSERT_EQ(workers.size(), plan->workers().size());
    for (std::size_t w = 0; w < workers.size(); ++w) {
      ASSERT_EQ(std::memcmp(&workers[w], &plan->workers()[w], sizeof(WorkerRecord)), 0)
          << "worker " << w << " of " << plan->header().workers_active;
    }
  }
}

TEST(CutSearch, FindsOwnersAcrossManyWords) {
  std::vector<std::uint32_t> passing(5, 0xffffffffu);
  passing[0] &= ~(1u << 3);
  passing[4] &= ~(1u << 30);
  EXPECT_EQ(last_clear_before(passing.data(), 157), 3u);
  EXPECT_EQ(last_clear_before(passing.data(), 4), 3u);
  EXPECT_EQ(last_clear_before(passing.data(), 159), 158u);
  EXPECT_EQ(first_clear_from(passing.data(), 4), 158u);
  EXPECT_EQ(first_clear_from(passing.data(), 158), 158u);
  EXPECT_EQ(first_clear_from(passing.data(), 0), 3u);
}

}  // namespace
}  // namespace onebeat::plan
