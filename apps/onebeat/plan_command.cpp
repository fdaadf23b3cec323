// SPDX-License-Identifier: Apache-2.0
// onebeat plan: makes, checks and shows the plan of one step.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "commands.h"
#include "length_list.h"
#include "onebeat/plan.h"
#include "output.h"

namespace onebeat::cli {
namespace {

struct PlanOptions {
  std::vector<std::int32_t> lens;
  AttentionGeometry geometry;
  CostModel cost;
  std::string format = "text";
  std::string output;
};

/// Bytes aligned as a plan's must be.
struct alignas(16) PlanBlock {
  std::byte bytes[16];
};

std::string shown(const PlanView& plan, const CostModel& cost, const std::string& format) {
  if (format == "json") return to_json(plan, cost) + "\n";
  if (format == "svg") return to_svg(plan, cost);
  return to_string(plan, cost);
}

Status run_plan(const PlanOptions& options) {
  const std::int32_t longest = *std::max_element(options.lens.begin(), options.lens.end());
  const PlanLimits limits{.max_requests = static_cast<std::int32_t>(options.lens.size()),
                          .max_context_tokens = std::max(longest, 1)};
  ONEBEAT_ASSIGN_OR_RETURN(const Planner planner,
                           Planner::create(options.geometry, options.cost, limits));
  std::vector<PlanBlock> blocks((planner.plan_bytes() + sizeof(PlanBlock) - 1) / sizeof(PlanBlock));
  const auto bytes = std::as_writable_bytes(std::span(blocks)).first(planner.plan_bytes());
  const PlanBatch batch{.lens = options.lens};
  ONEBEAT_ASSIGN_OR_RETURN(const PlanView plan, planner.make_plan(batch, bytes));
  ONEBEAT_RETURN_IF_ERROR(check_plan(plan, batch, planner.cost_model()));
  return write_output(options.output, shown(plan, planner.cost_model(), options.format));
}

/// An option whose text `parse` turns into a value: wrong text is wrong usage, a number out of
/// range a failure.
template <typename T>
void store_parsed(const char* name, Result<T> parsed, T& target, Status& failure) {
  if (parsed.ok()) {
    target = std::move(parsed).value();
  } else if (parsed.status().code() == StatusCode::kInvalidArgument) {
    throw CLI::ValidationError(name, parsed.status().message());
  } else {
    failure = parsed.status().with_context(name);
  }
}

}  // namespace

void add_plan_command(CLI::App& app, Outcome& outcome) {
  struct Typed {
    PlanOptions options;
    std::string lens;
    std::string heads = "32/8";
    std::int32_t head_dim_v = 0;
  };
  const auto typed = std::make_shared<Typed>();
  AttentionGeometry& geometry = typed->options.geometry;
  CostModel& cost = typed->options.cost;
  geometry.head_dim = 128;
  geometry.workers = 132;

  CLI::App* command =
      app.add_subcommand("plan", "Makes, checks and shows the decode plan of one step");
  const auto add = [command](const char* name, auto& value, const char* description) {
    return command->add_option(name, value, description)->capture_default_str();
  };
  add("--lens", typed->lens,
      "KV tokens of each request: 131072,512x31 is one of 131072 and 31 of 512")
      ->required();
  add("--heads", typed->heads, "Query heads / KV heads");
  add("--head-dim", geometry.head_dim, "Elements of a query or key head");
  add("--head-dim-v", typed->head_dim_v, "Elements of a value head; 0: as --head-dim");
  add("--page", geometry.page_tokens, "Tokens in a page");
  add("--tile", geometry.tile_tokens, "Tokens in a tile, the unit of work");
  add("--workers", geometry.workers, "Workers that share the step");
  add("--window", geometry.window_left, "Earlier tokens that a query sees besides itself; -1: all");
  add("--chunk", geometry.chunk_tokens,
      "Queries see only their own chunk of this many tokens; 0: no chunks");
  add("--query-tokens", geometry.max_query_tokens, "Query tokens of each request");
  add("--invariant-chunk", geometry.invariant_chunk_tokens,
      "Batch-invariant mode: cuts only at multiples of this; 0: off");
  add("--overhead", cost.segment_overhead, "Cost of beginning a segment, in 1/256 tile");
  add("--min-tiles", cost.min_tiles, "Fewest tiles of a unit that a worker gets");
  add("--format", typed->options.format, "text, json or svg")
      ->check(CLI::IsMember({"text", "json", "svg"}));
  add("-o,--output", typed->options.output, "File to write instead of standard output");

  command->callback([typed, &outcome] {
    PlanOptions options = typed->options;
    Status failure;
    HeadCounts heads;
    store_parsed("--lens", parse_length_list(typed->lens), options.lens, failure);
    store_parsed("--heads", parse_heads(typed->heads), heads, failure);
    options.geometry.num_heads = heads.num_heads;
    options.geometry.num_kv_heads = heads.num_kv_heads;
    options.geometry.head_dim_v =
        typed->head_dim_v == 0 ? options.geometry.head_dim : typed->head_dim_v;
    outcome.finish(failure.ok() ? run_plan(options) : failure);
  });
}

}  // namespace onebeat::cli
