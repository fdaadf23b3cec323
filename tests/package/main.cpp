// SPDX-License-Identifier: Apache-2.0
// Makes the plan of one step with the installed library and prints how even it is.
#include <onebeat/plan.h>

#include <cstdio>
#include <span>
#include <vector>

int main() {
  onebeat::AttentionGeometry geometry;
  geometry.num_heads = 32;
  geometry.num_kv_heads = 8;
  geometry.head_dim = geometry.head_dim_v = 128;
  geometry.workers = 132;

  const auto planner =
      onebeat::Planner::create(geometry, {}, {.max_requests = 32, .max_context_tokens = 131'072});
  if (!planner.ok()) {
    std::fprintf(stderr, "%s\n", planner.status().message().c_str());
    return 1;
  }
  std::vector<std::int32_t> lens(32, 512);
  lens[0] = 131'072;
  struct alignas(16) Block {
    std::byte bytes[16];
  };
  std::vector<Block> blocks(planner->plan_bytes() / sizeof(Block) + 1);
  const auto plan = planner->make_plan(
      {.lens = lens}, std::as_writable_bytes(std::span(blocks)).first(planner->plan_bytes()));
  if (!plan.ok()) {
    std::fprintf(stderr, "%s\n", plan.status().message().c_str());
    return 1;
  }
  std::printf("balance %.4f\n", onebeat::balance_of(*plan, planner->cost_model()).balance);
  return 0;
}
