// SPDX-License-Identifier: Apache-2.0
#include "step/gather_pages.h"

#include <cstring>

namespace onebeat::step {
namespace {

/// Calls body(source, stride) with the row's first entry, typed, and the stride between its pages'
/// entries.
template <typename Body>
void with_row(const PageMapView& map, std::int64_t row, std::int32_t shift, Body&& body) {
  const std::int64_t stride = map.of_slots ? map.column_stride << shift : map.column_stride;
  if (map.wide) {
    body(static_cast<const std::int64_t*>(map.data) + row * map.row_stride, stride);
  } else {
    body(static_cast<const std::int32_t*>(map.data) + row * map.row_stride, stride);
  }
}

void copy_entries(const std::int32_t* source, std::int64_t stride, std::int32_t* out,
                  std::int64_t out_stride, std::int64_t columns, std::int32_t shift) {
  if (shift == 0 && stride == 1 && out_stride == 1) {
    std::memcpy(out, source, static_cast<std::size_t>(columns) * sizeof(std::int32_t));
    return;
  }
  for (std::int64_t c = 0; c < columns; ++c) out[c * out_stride] = source[c * stride] >> shift;
}

void copy_entries(const std::int64_t* source, std::int64_t stride, std::int32_t* out,
                  std::int64_t out_stride, std::int64_t columns, std::int32_t shift) {
  for (std::int64_t c = 0; c < columns; ++c) {
    out[c * out_stride] = static_cast<std::int32_t>(source[c * stride] >> shift);
  }
}

}  // namespace

void gather_page_row(const PageMapView& map, std::int64_t row, std::int64_t columns,
                     std::int32_t shift, const IntTable& table, std::int64_t b) {
  if (table.data == nullptr || columns == 0) return;
  const std::int32_t entry_shift = map.of_slots ? shift : 0;
  std::int32_t* out = table.data + b * table.row_stride;
  with_row(map, row, shift, [&](const auto* source, std::int64_t stride) {
    copy_entries(source, stride, out, table.column_stride, columns, entry_shift);
  });
}

void gather_window_page_row(const PageMapView& map, const WindowMapView& window, std::int64_t row,
                            std::int64_t columns, std::int32_t shift, const IntTable& table,
                            std::int64_t b) {
  if (table.data == nullptr || columns == 0) return;
  const std::int32_t slot_shift = map.of_slots ? 0 : shift;
  std::int32_t* out = table.data + b * table.row_stride;
  with_row(map, row, shift, [&](const auto* source, std::int64_t stride) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t slot = std::int64_t{source[c * stride]} * (std::int64_t{1} << slot_shift);
      out[c * table.column_stride] = window_page_of_slot(window, slot, shift);
    }
  });
}

}  // namespace onebeat::step
