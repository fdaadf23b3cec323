// SPDX-License-Identifier: Apache-2.0
// A plan as text for people and as JSON for programs.
#include <fmt/format.h>

#include <iterator>

#include "onebeat/plan.h"

namespace onebeat {
namespace {

void append_geometry_line(std::string& out, const PlanView& plan, const PlanBalance& balance) {
  const AttentionGeometry& g = plan.geometry();
  fmt::format_to(
      std::back_inserter(out),
      "{} requests, {} KV heads of {} query heads each, tile {}, {} of {} workers active\n"
      "total cost {} (1/256 tile), {} segments, {} split units, {} partial results, balance "
      "{:.4f}\n",
      plan.header().num_active, g.num_kv_heads, heads_per_kv_head(g), g.tile_tokens,
      plan.header().workers_active, plan.header().workers, balance.total_cost, balance.segments,
      balance.split_units, balance.scratch_rows, balance.balance);
}

void append_segment(std::string& out, const PlanView& plan, const Segment& s) {
  fmt::format_to(std::back_inserter(out), "  r{} h{}", s.request, s.kv_head);
  if (plan.query_tiles(s.request) > 1)
    fmt::format_to(std::back_inserter(out), " q{}", s.query_tile);
  fmt::format_to(std::back_inserter(out), " [{}, {})", s.token_begin, s.token_end);
  if (s.partials > 0) {
    fmt::format_to(std::back_inserter(out), " -> slot {} (1 of {}, counter {})", s.slot, s.partials,
                   s.owner);
  }
}

}  // namespace

std::string to_string(const PlanView& plan, const CostModel& cost) {
  std::string out;
  append_geometry_line(out, plan, balance_of(plan, cost));
  for (std::uint32_t w = 0; w < plan.header().workers_active; ++w) {
    fmt::format_to(std::back_inserter(out), "worker {:>4}:", w);
    plan.for_each_segment(w, [&](const Segment& s) { append_segment(out, plan, s); });
    out += '\n';
  }
  return out;
}

std::string to_json(const PlanView& plan, const CostModel& cost) {
  const AttentionGeometry& g = plan.geometry();
  const PlanBalance balance = balance_of(plan, cost);
  std::string out;
  auto to = std::back_inserter(out);
  fmt::format_to(to,
                 "{{\"requests\":{},\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"page\":{},"
                 "\"tile\":{},\"window\":{},\"workers_total\":{},\"workers_active\":{},"
                 "\"total_cost\":{},\"balance\":{:.6f},\"segments\":{},\"split_units\":{},"
                 "\"scratch_rows\":{},\"workers\":[",
                 plan.header().num_active, g.num_heads, g.num_kv_heads, g.head_dim, g.page_tokens,
                 g.tile_tokens, g.window_left, plan.header().workers, plan.header().workers_active,
                 balance.total_cost, balance.balance, balance.segments, balance.split_units,
                 balance.scratch_rows);
  for (std::uint32_t w = 0; w < plan.header().workers_active; ++w) {
    fmt::format_to(to, "{}{{\"worker\":{},\"segments\":[", w == 0 ? "" : ",", w);
    bool first = true;
    plan.for_each_segment(w, [&](const Segment& s) {
      fmt::format_to(to,
                     "{}{{\"request\":{},\"kv_head\":{},\"query_tile\":{},\"token_begin\":{},"
                     "\"token_end\":{},\"slot\":{},\"merge\":{}}}",
                     first ? "" : ",", s.request, s.kv_head, s.query_tile, s.token_begin,
                     s.token_end, s.partials > 0 ? fmt::to_string(s.slot) : "null",
                     s.partials > 0 ? fmt::to_string(s.partials) : "null");
      first = false;
    });
    out += "]}";
  }
  out += "]}\n";
  return out;
}

}  // namespace onebeat
