// SPDX-License-Identifier: Apache-2.0
// The CPU twin of prepare_step. First everything the step reads is checked, then everything is
// written: a refused step leaves no trace. The order inside is that of the device twin's contract:
// page updates before every reader.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "onebeat/step.h"
#include "step/gather_pages.h"
#include "step/step_checks.h"
#include "step/step_math.h"

namespace onebeat {
namespace {

using step::kNoSlot;

/// One step with all that its functions ask again and again.
struct Step {
  const StepArguments& args;
  std::int32_t active = 0;
  std::int32_t shift = 0;
  std::span<std::int32_t> lens;          // len_b of the active requests
  std::span<std::int32_t> query_tokens;  // T_b

  std::int64_t row_of(std::int32_t request) const {
    return args.rows_of.size == 0 ? request
                                  : step::load_index(step::view_of(args.rows_of), request);
  }
  const PageUpdate* updates_begin(std::int32_t request) const {
    return args.updates.begin == nullptr ? nullptr
                                         : args.updates.entries + args.updates.begin[request];
  }
  const PageUpdate* updates_end(std::int32_t request) const {
    return args.updates.begin == nullptr ? nullptr
                                         : args.updates.entries + args.updates.begin[request + 1];
  }
  std::int64_t slot(std::int32_t request, std::int32_t position) const {
    return step::slot_of_token(step::view_of(args.pages, args.page_map), row_of(request), position,
                               shift, updates_begin(request), updates_end(request));
  }
};

Status read_active(const StepArguments& args, std::int32_t& active) {
  active = args.num_active == nullptr ? args.num_requests : *args.num_active;
  if (active < 0 || active > args.num_requests) {
    return out_of_range("num_active is {}; the step has {} requests", active, args.num_requests);
  }
  return {};
}

Status check_row(const Step& step, std::int32_t request) {
  const StepArguments& args = step.args;
  if (args.page_map == PageMapKind::kNone && !args.lens_by_row) return {};
  const std::int64_t row = step.row_of(request);
  const std::int64_t rows = args.page_map == PageMapKind::kNone ? args.lens.size
                            : args.lens_by_row ? std::min(args.pages.rows, args.lens.size)
                                               : args.pages.rows;
  if (row < 0 || row >= rows) {
    return out_of_range("request {} has row {} of a page map of {} rows", request, row, rows);
  }
  return {};
}

/// Reads T_b and len_b into the step's own arrays.
Status read_lengths(const Step& step, const StepPlanner& planner) {
  const StepArguments& args = step.args;
  const StepLimits& limits = planner.limits();
  const std::int64_t map_tokens = step::page_map_tokens(args, planner.page_tokens());
  const std::int64_t table_tokens = step::table_tokens(args, planner.page_tokens());
  for (std::int32_t b = 0; b < step.active; ++b) {
    ONEBEAT_RETURN_IF_ERROR(check_row(step, b));
    const std::int64_t query_tokens = args.query_tokens.size == 0
                                          ? args.query_tokens_each
                                          : step::load_index(step::view_of(args.query_tokens), b);
    if (query_tokens < 0 || query_tokens > limits.max_query_tokens) {
      return out_of_range("request {} has {} query tokens; the limit is {}", b, query_tokens,
                          limits.max_query_tokens);
    }
    const std::int64_t stored =
        step::load_index(step::view_of(args.lens), args.lens_by_row ? step.row_of(b) : b);
    const std::int64_t most = limits.max_context_tokens;
    if (stored < -most || stored > most) {
      return out_of_range("request {} has stored length {}; the limit is {}", b, stored, most);
    }
    const std::int64_t len = stored + args.len_delta + (args.add_query_tokens ? query_tokens : 0);
    if (len < 0 || len > most) {
      return out_of_range("request {} has length {}; this planner takes 0 to {}", b, len, most);
    }
    if (len > map_tokens) {
      return out_of_range("request {} has length {}; a row of the page map holds {} tokens", b, len,
                          map_tokens);
    }
    if (len > table_tokens) {
      return out_of_range("request {} has length {}; the page table holds {} tokens a row", b, len,
                          table_tokens);
    }
    if (len > 0 && len < query_tokens) {
      return out_of_range("request {} has length {}, less than its {} query tokens", b, len,
                          query_tokens);
    }
    step.lens[static_cast<std::size_t>(b)] = static_cast<std::int32_t>(len);
    step.query_tokens[static_cast<std::size_t>(b)] = static_cast<std::int32_t>(query_tokens);
  }
  return {};
}

Status check_updates(const Step& step) {
  const PageUpdates& updates = step.args.updates;
  if (updates.begin == nullptr) return {};
  std::int32_t previous = 0;
  for (std::int32_t b = 0; b <= step.active; ++b) {
    if (updates.begin[b] < previous || updates.begin[b] > updates.num_entries) {
      return out_of_range("updates.begin[{}] is {}; it takes {} to {}", b, updates.begin[b],
                          previous, updates.num_entries);
    }
    previous = updates.begin[b];
  }
  for (std::int32_t i = updates.begin[0]; i < previous; ++i) {
    const std::int32_t column = updates.entries[i].column;
    if (column < 0 || column >= step.args.pages.columns) {
      return out_of_range("page update {} names column {} of {}", i, column,
                          step.args.pages.columns);
    }
  }
  return {};
}

Status check_room(const char* name, const IntArray& array, std::int64_t tokens) {
  if (array.data != nullptr && array.size < tokens) {
    return out_of_range("{} has room for {} numbers; the step has {} new tokens", name, array.size,
                        tokens);
  }
  return {};
}

Status check_new_tokens(const Step& step) {
  const StepArguments& args = step.args;
  std::int64_t tokens = 0;
  for (std::int32_t b = 0; b < step.active; ++b) {
    tokens += step.query_tokens[static_cast<std::size_t>(b)];
  }
  ONEBEAT_RETURN_IF_ERROR(check_room("positions", args.positions, tokens));
  ONEBEAT_RETURN_IF_ERROR(check_room("slots", args.slots, tokens));
  ONEBEAT_RETURN_IF_ERROR(check_room("window_slots", args.window_slots, tokens));
  if (args.slots.data == nullptr && args.window_slots.data == nullptr) return {};

  const step::WindowMapView window = step::window_map_of(args);
  const std::int64_t slots_end =
      args.pool_pages == 0 ? std::int64_t{1} << 31 : args.pool_pages << step.shift;
  for (std::int32_t b = 0; b < step.active; ++b) {
    const std::int32_t len = step.lens[static_cast<std::size_t>(b)];
    const std::int32_t query_tokens = step.query_tokens[static_cast<std::size_t>(b)];
    if (len == 0) continue;
    for (std::int32_t t = 0; t < query_tokens; ++t) {
      const std::int32_t position = step::new_token_position(len, query_tokens, t);
      const std::int64_t slot = step.slot(b, position);
      if (slot < 0 || slot >= std::min(slots_end, std::int64_t{1} << 31)) {
        return out_of_range("request {}, position {}: slot {} of a pool of {} slots", b, position,
                            slot, slots_end);
      }
      if (args.window_slots.data != nullptr && step::window_slot_or_none(window, slot) < 0) {
        return out_of_range(
            "request {}, position {}: slot {} has none in the sliding-window pool ({} slots "
            "mapped)",
            b, position, slot, window.size);
      }
    }
  }
  return {};
}

/// What the planners would refuse, so that nothing is written before they run.
Status check_plans(const Step& step, const StepPlanner& planner) {
  for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
    if (step.args.plans[static_cast<std::size_t>(c)] == nullptr) continue;
    const std::int32_t most = planner.planner(c).geometry().max_query_tokens;
    for (std::int32_t b = 0; b < step.active; ++b) {
      const std::int32_t query_tokens = step.query_tokens[static_cast<std::size_t>(b)];
      if (query_tokens > most) {
        return out_of_range("request {} has {} query tokens; class {} takes {}", b, query_tokens, c,
                            most);
      }
    }
  }
  return {};
}

void apply_updates(const Step& step) {
  const StepArguments& args = step.args;
  if (args.updates.begin == nullptr) return;
  for (std::int32_t b = 0; b < step.active; ++b) {
    std::int32_t* row = args.updates.page_rows + step.row_of(b) * args.pages.row_stride;
    for (const PageUpdate* u = step.updates_begin(b); u != step.updates_end(b); ++u) {
      row[u->column * args.pages.column_stride] = u->page;
    }
  }
}

void write(const IntArray& array, std::int64_t index, std::int64_t value) {
  if (array.data != nullptr) array.data[index * array.stride] = static_cast<std::int32_t>(value);
}

void write_sums(const Step& step) {
  const StepArguments& args = step.args;
  std::uint32_t keys = 0;  // wraps like the 32-bit sums of other implementations
  std::uint32_t queries = 0;
  for (std::int32_t b = 0; b < step.active; ++b) {
    write(args.out_lens, b, step.lens[static_cast<std::size_t>(b)]);
    write(args.cu_seqlens_k, b, static_cast<std::int32_t>(keys));
    write(args.cu_seqlens_q, b, static_cast<std::int32_t>(queries));
    keys += static_cast<std::uint32_t>(step.lens[static_cast<std::size_t>(b)]);
    queries += static_cast<std::uint32_t>(step.query_tokens[static_cast<std::size_t>(b)]);
  }
  write(args.cu_seqlens_k, step.active, static_cast<std::int32_t>(keys));
  write(args.cu_seqlens_q, step.active, static_cast<std::int32_t>(queries));
}

void write_new_tokens(const Step& step) {
  const StepArguments& args = step.args;
  const step::WindowMapView window = step::window_map_of(args);
  std::int64_t index = 0;
  for (std::int32_t b = 0; b < step.active; ++b) {
    const std::int32_t len = step.lens[static_cast<std::size_t>(b)];
    const std::int32_t query_tokens = step.query_tokens[static_cast<std::size_t>(b)];
    for (std::int32_t t = 0; t < query_tokens; ++t, ++index) {
      const std::int32_t position = step::new_token_position(len, query_tokens, t);
      write(args.positions, index, position);
      if (args.slots.data == nullptr && args.window_slots.data == nullptr) continue;
      const std::int64_t slot = len == 0 ? kNoSlot : step.slot(b, position);
      write(args.slots, index, slot);
      if (args.window_slots.data != nullptr) {
        write(args.window_slots, index,
              len == 0 ? kNoSlot : step::window_slot_or_none(window, slot));
      }
    }
  }
}

void write_tables(const Step& step) {
  const StepArguments& args = step.args;
  if (args.tables == TableContract::kNone) return;
  const step::PageMapView map = step::view_of(args.pages, args.page_map);
  const step::WindowMapView window = step::window_map_of(args);
  for (std::int32_t b = 0; b < step.active; ++b) {
    const std::int64_t columns =
        args.tables == TableContract::kDense
            ? args.dense_pages
            : step::pages_of_tokens(step.lens[static_cast<std::size_t>(b)], step.shift);
    const std::int64_t row = step.row_of(b);
    step::gather_page_row(map, row, columns, step.shift, args.page_table, b);
    step::gather_window_page_row(map, window, row, columns, step.shift, args.window_table, b);
  }
}

/// The planner takes an empty list where every request has the class's own T.
std::span<const std::int32_t> query_tokens_for(const Step& step,
                                               const AttentionGeometry& geometry) {
  const bool all = std::all_of(step.query_tokens.begin(), step.query_tokens.end(),
                               [&](std::int32_t t) { return t == geometry.max_query_tokens; });
  return all ? std::span<const std::int32_t>{} : step.query_tokens;
}

Status write_plans(const Step& step, const StepPlanner& planner) {
  for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
    const Planner& of_class = planner.planner(c);
    std::uint32_t* counters = step.args.counters[static_cast<std::size_t>(c)];
    if (counters != nullptr) {
      const auto words = static_cast<std::size_t>(of_class.scratch_size().counters);
      std::memset(counters, 0, words * sizeof(std::uint32_t));
    }
    std::byte* plan = step.args.plans[static_cast<std::size_t>(c)];
    if (plan == nullptr) continue;
    const PlanBatch batch{step.lens, query_tokens_for(step, of_class.geometry())};
    const Result<PlanView> made = of_class.make_plan(batch, {plan, of_class.plan_bytes()});
    if (!made.ok()) return made.status().with_context(fmt::format("class {}", c));
  }
  return {};
}

}  // namespace

Result<StepPlanner> StepPlanner::create(std::span<const StepClass> classes,
                                        std::int32_t page_tokens, const StepLimits& limits) {
  if (page_tokens < 1 || (page_tokens & (page_tokens - 1)) != 0) {
    return invalid_argument("a page of {} tokens; it must be a power of two", page_tokens);
  }
  if (classes.size() > static_cast<std::size_t>(kMaxStepClasses)) {
    return out_of_range("{} attention classes; the limit is {}", classes.size(), kMaxStepClasses);
  }
  if (limits.max_requests < 0 || limits.max_requests > 65536) {
    return out_of_range("max_requests is {}; it takes 0 to 65536", limits.max_requests);
  }
  if (limits.max_context_tokens < 1 || limits.max_context_tokens > 2147483647) {
    return out_of_range("max_context_tokens is {}; it takes 1 to 2147483647",
                        limits.max_context_tokens);
  }
  if (limits.max_query_tokens < 1 || limits.max_query_tokens > 16) {
    return out_of_range("max_query_tokens is {}; it takes 1 to 16", limits.max_query_tokens);
  }
  StepPlanner planner;
  planner.page_tokens_ = page_tokens;
  planner.limits_ = limits;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    if (classes[c].geometry.page_tokens != page_tokens) {
      return invalid_argument("class {} has pages of {} tokens, the step's have {}", c,
                              classes[c].geometry.page_tokens, page_tokens);
    }
    Result<Planner> made =
        Planner::create(classes[c].geometry, classes[c].cost,
                        PlanLimits{limits.max_requests, limits.max_context_tokens});
    if (!made.ok()) return made.status().with_context(fmt::format("class {}", c));
    planner.planners_.push_back(std::move(*made));
  }
  planner.lens_.resize(static_cast<std::size_t>(limits.max_requests));
  planner.query_tokens_.resize(static_cast<std::size_t>(limits.max_requests));
  return planner;
}

Status StepPlanner::prepare(const StepArguments& args) {
  ONEBEAT_RETURN_IF_ERROR(step::check_arguments(args, *this));
  std::int32_t active = 0;
  ONEBEAT_RETURN_IF_ERROR(read_active(args, active));
  const auto count = static_cast<std::size_t>(active);
  const Step step{args, active, step::page_shift_of(page_tokens_), std::span(lens_).first(count),
                  std::span(query_tokens_).first(count)};
  ONEBEAT_RETURN_IF_ERROR(read_lengths(step, *this));
  ONEBEAT_RETURN_IF_ERROR(check_updates(step));
  ONEBEAT_RETURN_IF_ERROR(check_new_tokens(step));
  ONEBEAT_RETURN_IF_ERROR(check_plans(step, *this));

  apply_updates(step);
  write_sums(step);
  write_new_tokens(step);
  write_tables(step);
  return write_plans(step, *this);
}

}  // namespace onebeat
