// SPDX-License-Identifier: Apache-2.0
#include "step/draft_expand.h"

#include "base/error.h"
#include "step/step_math.h"

namespace onebeat {
namespace {

std::int64_t slot_at(const DraftExpandArguments& draft, std::int64_t row, std::int64_t token) {
  const IndexTable& slots = draft.slots;
  return step::load_index(slots.data, slots.type == IndexType::kI64,
                          row * slots.row_stride + token * slots.column_stride);
}

/// Calls visit(column, page) for the pages of a row with consecutive repeats dropped.
template <typename Visit>
void for_each_page(const DraftExpandArguments& draft, std::int64_t row, std::int32_t shift,
                   Visit&& visit) {
  std::int64_t column = -1;
  std::int64_t previous = -1;
  for (std::int64_t t = 0; t < draft.slots.columns; ++t) {
    const std::int64_t page = slot_at(draft, row, t) >> shift;
    if (column >= 0 && page == previous) continue;
    visit(++column, page);
    previous = page;
  }
}

Status check_rows(const DraftExpandArguments& draft, std::int32_t shift) {
  for (std::int32_t b = 0; b < draft.num_requests; ++b) {
    const std::int64_t last = step::load_index(step::view_of(draft.last_page_lens), b);
    if (last < 0 || last > 2147483647 - draft.decode_length) {
      return out_of_range("last_page_lens[{}] is {}", b, last);
    }
  }
  for (std::int64_t row = 0; row < draft.slots.rows; ++row) {
    std::int64_t pages = 0;
    bool sound = true;
    for_each_page(draft, row, shift, [&](std::int64_t column, std::int64_t page) {
      pages = column + 1;
      sound = sound && page >= 0 && page <= 2147483647;
    });
    if (!sound) return out_of_range("row {} of slots holds a number that is no slot", row);
    if (pages > draft.page_table.columns) {
      return out_of_range("row {} touches {} pages; page_table has {} columns", row, pages,
                          draft.page_table.columns);
    }
  }
  return {};
}

}  // namespace

Status step::check_draft_shapes(const DraftExpandArguments& draft) {
  if (draft.page_tokens < 1 || (draft.page_tokens & (draft.page_tokens - 1)) != 0) {
    return invalid_argument("a page of {} tokens; it must be a power of two", draft.page_tokens);
  }
  if (draft.num_requests < 0 || draft.top_k < 1 || draft.decode_length < 0) {
    return invalid_argument("{} requests, top_k {}, decode_length {}", draft.num_requests,
                            draft.top_k, draft.decode_length);
  }
  const std::int64_t rows = std::int64_t{draft.num_requests} * draft.top_k;
  if (draft.last_page_lens.size < draft.num_requests) {
    return out_of_range("last_page_lens holds {} numbers for {} requests",
                        draft.last_page_lens.size, draft.num_requests);
  }
  if (draft.out_lens.data == nullptr || draft.out_lens.size < rows) {
    return out_of_range("out_lens has room for {} numbers; the step writes {}", draft.out_lens.size,
                        rows);
  }
  if (draft.slots.rows < 0 || draft.slots.rows > rows || draft.slots.columns < 0) {
    return out_of_range("slots is {} x {} for {} rows", draft.slots.rows, draft.slots.columns,
                        rows);
  }
  if (draft.page_table.rows < draft.slots.rows) {
    return out_of_range("page_table has {} rows; slots has {}", draft.page_table.rows,
                        draft.slots.rows);
  }
  if (draft.slots.rows > 0 && draft.slots.columns > 0 &&
      (draft.slots.data == nullptr || draft.page_table.data == nullptr)) {
    return invalid_argument("slots or page_table is null");
  }
  return {};
}

Status prepare_draft_expand(const DraftExpandArguments& draft) {
  ONEBEAT_RETURN_IF_ERROR(step::check_draft_shapes(draft));
  const std::int32_t shift = step::page_shift_of(draft.page_tokens);
  ONEBEAT_RETURN_IF_ERROR(check_rows(draft, shift));
  const std::int64_t rows = std::int64_t{draft.num_requests} * draft.top_k;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t last =
        step::load_index(step::view_of(draft.last_page_lens), row / draft.top_k);
    draft.out_lens.data[row * draft.out_lens.stride] =
        static_cast<std::int32_t>(draft.decode_length + last);
  }
  for (std::int64_t row = 0; row < draft.slots.rows; ++row) {
    std::int32_t* out = draft.page_table.data + row * draft.page_table.row_stride;
    for_each_page(draft, row, shift, [&](std::int64_t column, std::int64_t page) {
      out[column * draft.page_table.column_stride] = static_cast<std::int32_t>(page);
    });
  }
  return {};
}

}  // namespace onebeat
