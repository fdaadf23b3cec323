// SPDX-License-Identifier: Apache-2.0
#include "step/step_checks.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/error.h"

namespace onebeat::step {
namespace {

constexpr std::int64_t kAnyTokens = std::numeric_limits<std::int32_t>::max();

bool given(const IndexArray& array) {
  return array.data != nullptr || array.size != 0;
}
bool wanted(const IntArray& array) {
  return array.data != nullptr;
}
bool wanted(const IntTable& table) {
  return table.data != nullptr;
}

Status check_input(const char* name, const IndexArray& array, std::int64_t needed) {
  if (array.size < 0) return invalid_argument("{} has size {}", name, array.size);
  if (array.size < needed) {
    return out_of_range("{} holds {} numbers; the step needs {}", name, array.size, needed);
  }
  if (array.data == nullptr && array.size > 0) {
    return invalid_argument("{} is null but claims {} numbers", name, array.size);
  }
  return {};
}

Status check_output(const char* name, const IntArray& array, std::int64_t needed) {
  if (!wanted(array)) return {};
  if (array.size < needed) {
    return out_of_range("{} has room for {} numbers; the step writes {}", name, array.size, needed);
  }
  if (array.stride == 0 && needed > 1) return invalid_argument("{} has stride 0", name);
  return {};
}

Status check_lengths(const StepArguments& step, const StepLimits& limits) {
  const std::int64_t requests = step.num_requests;
  if (requests < 0 || requests > limits.max_requests) {
    return out_of_range("the step has {} requests; this planner takes 0 to {}", requests,
                        limits.max_requests);
  }
  ONEBEAT_RETURN_IF_ERROR(check_input("lens", step.lens, step.lens_by_row ? 0 : requests));
  if (step.lens_by_row && step.lens.size == 0 && requests > 0) {
    return invalid_argument("lens is empty; with lens_by_row it holds a length for every row");
  }
  if (step.lens_by_row && !given(step.rows_of) && requests > 0) {
    return invalid_argument("lens_by_row needs rows_of");
  }
  if (given(step.query_tokens)) {
    ONEBEAT_RETURN_IF_ERROR(check_input("query_tokens", step.query_tokens, requests));
  } else if (step.query_tokens_each < 0 || step.query_tokens_each > limits.max_query_tokens) {
    return out_of_range("query_tokens_each is {}; this planner takes 0 to {}",
                        step.query_tokens_each, limits.max_query_tokens);
  }
  if (given(step.rows_of)) {
    ONEBEAT_RETURN_IF_ERROR(check_input("rows_of", step.rows_of, requests));
  }
  return {};
}

Status check_page_map(const StepArguments& step) {
  if (step.pool_pages < 0) return invalid_argument("pool_pages is {}", step.pool_pages);
  if (step.page_map == PageMapKind::kNone) {
    if (wanted(step.slots) || wanted(step.window_slots) || step.tables != TableContract::kNone ||
        step.updates.begin != nullptr) {
      return invalid_argument("slots, page tables and page updates need a page map");
    }
    return {};
  }
  const IndexTable& pages = step.pages;
  if (pages.rows < 0 || pages.columns < 0) {
    return invalid_argument("the page map is {} x {}", pages.rows, pages.columns);
  }
  if (pages.data == nullptr && pages.rows > 0 && pages.columns > 0) {
    return invalid_argument("the page map is null but claims {} x {} entries", pages.rows,
                            pages.columns);
  }
  if (step.num_requests > 0 && pages.rows == 0) return out_of_range("the page map has no rows");
  if (!given(step.rows_of) && pages.rows < step.num_requests) {
    return out_of_range("the page map has {} rows for {} requests; pass rows_of to share rows",
                        pages.rows, step.num_requests);
  }
  const PageUpdates& updates = step.updates;
  if (updates.begin == nullptr) return {};
  if (step.page_map != PageMapKind::kPages || pages.type != IndexType::kI32) {
    return invalid_argument("page updates need a page map of 32-bit page ids");
  }
  if (updates.page_rows != pages.data) {
    return invalid_argument("updates.page_rows must be the page map's own address");
  }
  if (updates.num_entries < 0 || (updates.num_entries > 0 && updates.entries == nullptr)) {
    return invalid_argument("updates.entries is null or has size {}", updates.num_entries);
  }
  return {};
}

Status check_table(const char* name, const IntTable& table, const StepArguments& step) {
  if (!wanted(table)) return {};
  if (table.rows < step.num_requests) {
    return out_of_range("{} has {} rows for {} requests", name, table.rows, step.num_requests);
  }
  if (table.columns < 0 || (table.column_stride == 0 && table.columns > 1) ||
      (table.row_stride == 0 && step.num_requests > 1)) {
    return invalid_argument("{} has {} columns and strides {}, {}", name, table.columns,
                            table.row_stride, table.column_stride);
  }
  if (step.tables == TableContract::kDense && table.columns < step.dense_pages) {
    return out_of_range("{} has {} columns; dense_pages is {}", name, table.columns,
                        step.dense_pages);
  }
  return {};
}

Status check_tables(const StepArguments& step, std::int32_t page_tokens) {
  const bool any = wanted(step.page_table) || wanted(step.window_table);
  if (step.tables == TableContract::kNone) {
    return any ? invalid_argument("a page table is given, but its contract is kNone") : Status();
  }
  if (step.dense_pages < 0) return invalid_argument("dense_pages is {}", step.dense_pages);
  const bool no_columns = step.tables == TableContract::kDense && step.dense_pages == 0;
  if (!any && !no_columns && step.num_requests > 0) {
    return invalid_argument("page tables are asked for, but none is given");
  }
  ONEBEAT_RETURN_IF_ERROR(check_table("page_table", step.page_table, step));
  ONEBEAT_RETURN_IF_ERROR(check_table("window_table", step.window_table, step));
  if (step.tables == TableContract::kDense && step.dense_pages > 0) {
    const std::int64_t last = step.page_map == PageMapKind::kSlots
                                  ? (step.dense_pages - 1) * page_tokens
                                  : step.dense_pages - 1;
    if (last >= step.pages.columns) {
      return out_of_range(
          "dense_pages is {}, but a row of the page map ends before page {} ({} of {} columns)",
          step.dense_pages, step.dense_pages - 1, last, step.pages.columns);
    }
  }
  return {};
}

Status check_window(const StepArguments& step) {
  const bool outputs = wanted(step.window_table) || wanted(step.window_slots);
  const bool map = given(step.window_slot_of);
  if (outputs && !map && !step.window_identity) {
    return invalid_argument(
        "window_table and window_slots need window_slot_of, or window_identity where both pools "
        "share their slots");
  }
  if (map && !outputs) {
    return invalid_argument("window_slot_of is given, but neither window_table nor window_slots");
  }
  if (map && step.window_identity) {
    return invalid_argument("window_slot_of and window_identity exclude each other");
  }
  return map ? check_input("window_slot_of", step.window_slot_of, 0) : Status();
}

Status check_outputs(const StepArguments& step) {
  const std::int64_t requests = step.num_requests;
  ONEBEAT_RETURN_IF_ERROR(check_output("out_lens", step.out_lens, requests));
  ONEBEAT_RETURN_IF_ERROR(check_output("cu_seqlens_q", step.cu_seqlens_q, requests + 1));
  ONEBEAT_RETURN_IF_ERROR(check_output("cu_seqlens_k", step.cu_seqlens_k, requests + 1));
  // With query_tokens the number of new tokens is known only when the step runs.
  const std::int64_t tokens =
      given(step.query_tokens) ? 0 : requests * std::int64_t{step.query_tokens_each};
  ONEBEAT_RETURN_IF_ERROR(check_output("positions", step.positions, tokens));
  ONEBEAT_RETURN_IF_ERROR(check_output("slots", step.slots, tokens));
  ONEBEAT_RETURN_IF_ERROR(check_output("window_slots", step.window_slots, tokens));
  if (wanted(step.out_lens) && step.out_lens.data == step.lens.data) {
    return invalid_argument("out_lens must not be the memory of lens, which the step still reads");
  }
  return {};
}

Status check_classes(const StepArguments& step, const StepPlanner& planner) {
  for (std::int32_t c = 0; c < kMaxStepClasses; ++c) {
    const std::byte* plan = step.plans[static_cast<std::size_t>(c)];
    const bool counters = step.counters[static_cast<std::size_t>(c)] != nullptr;
    if (plan == nullptr && !counters) continue;
    if (c >= planner.num_classes()) {
      return out_of_range("memory for class {} is given, but this planner has {} classes", c,
                          planner.num_classes());
    }
    if (reinterpret_cast<std::uintptr_t>(plan) % 16 != 0) {
      return invalid_argument("the plan of class {} is not aligned to 16 bytes", c);
    }
  }
  return {};
}

}  // namespace

Status check_arguments(const StepArguments& step, const StepPlanner& planner) {
  ONEBEAT_RETURN_IF_ERROR(check_lengths(step, planner.limits()));
  ONEBEAT_RETURN_IF_ERROR(check_page_map(step));
  ONEBEAT_RETURN_IF_ERROR(check_tables(step, planner.page_tokens()));
  ONEBEAT_RETURN_IF_ERROR(check_window(step));
  ONEBEAT_RETURN_IF_ERROR(check_outputs(step));
  return check_classes(step, planner);
}

std::int64_t page_map_tokens(const StepArguments& step, std::int32_t page_tokens) {
  if (step.page_map == PageMapKind::kNone) return kAnyTokens;
  if (step.page_map == PageMapKind::kSlots) return std::min(step.pages.columns, kAnyTokens);
  return step.pages.columns > kAnyTokens / page_tokens ? kAnyTokens
                                                       : step.pages.columns * page_tokens;
}

std::int64_t table_tokens(const StepArguments& step, std::int32_t page_tokens) {
  if (step.tables == TableContract::kNone) return kAnyTokens;
  std::int64_t columns = kAnyTokens;
  if (step.tables == TableContract::kDense) {
    if (step.dense_pages == 0) return kAnyTokens;
    columns = step.dense_pages;
  } else {
    if (wanted(step.page_table)) columns = std::min(columns, step.page_table.columns);
    if (wanted(step.window_table)) columns = std::min(columns, step.window_table.columns);
  }
  return columns > kAnyTokens / page_tokens ? kAnyTokens : columns * page_tokens;
}

}  // namespace onebeat::step
