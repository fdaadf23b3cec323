// SPDX-License-Identifier: Apache-2.0
// The arithmetic of prepare_step that the CPU and the device share: reading views, page of a slot,
// place of a token.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "onebeat/step.h"

namespace onebeat::step {

/// A strided array of 32- or 64-bit integers without its size: what a kernel keeps of an
/// IndexArray.
struct IndexView {
  const void* data = nullptr;
  std::int64_t stride = 1;
  bool wide = false;  ///< 64-bit elements.
};

ONEBEAT_HD inline std::int64_t load_index(const void* data, bool wide, std::int64_t offset) {
  return wide ? static_cast<const std::int64_t*>(data)[offset]
              : static_cast<const std::int32_t*>(data)[offset];
}

ONEBEAT_HD inline std::int64_t load_index(const IndexView& view, std::int64_t index) {
  return load_index(view.data, view.wide, index * view.stride);
}

[[nodiscard]] inline IndexView view_of(const IndexArray& array) {
  return {array.data, array.stride, array.type == IndexType::kI64};
}

/// s with 2^s == page_tokens, a power of two.
[[nodiscard]] ONEBEAT_HD constexpr std::int32_t page_shift_of(std::int32_t page_tokens) {
  std::int32_t shift = 0;
  while ((std::int32_t{1} << shift) < page_tokens) ++shift;
  return shift;
}

/// ceil(len / P)
[[nodiscard]] ONEBEAT_HD constexpr std::int64_t pages_of_tokens(std::int64_t len,
                                                                std::int32_t shift) {
  return (len + (std::int64_t{1} << shift) - 1) >> shift;
}

/// Place in its request of new token t of `query_tokens`; 0 for a request without KV.
[[nodiscard]] ONEBEAT_HD constexpr std::int32_t new_token_position(std::int32_t len,
                                                                   std::int32_t query_tokens,
                                                                   std::int32_t token) {
  return len == 0 ? 0 : len - query_tokens + token;
}

/// Slot of a new token that has no place because its request has no KV.
inline constexpr std::int32_t kNoSlot = -1;

/// The page map of a step: entry (row, column) is a page id or a slot.
struct PageMapView {
  const void* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t column_stride = 1;
  bool wide = false;
  bool of_slots = false;
};

[[nodiscard]] inline PageMapView view_of(const IndexTable& table, PageMapKind kind) {
  return {table.data, table.row_stride, table.column_stride, table.type == IndexType::kI64,
          kind == PageMapKind::kSlots};
}

/// The last of the changes to `column`, or `entry` if there is none.
[[nodiscard]] ONEBEAT_HD constexpr std::int64_t updated_entry(std::int64_t entry,
                                                              std::int64_t column,
                                                              const PageUpdate* begin,
                                                              const PageUpdate* end) {
  for (const PageUpdate* update = begin; update != end; ++update) {
    if (update->column == column) entry = update->page;
  }
  return entry;
}

/// Slot of the token at `position` of the request whose map row is `row`, with changes [begin, end)
/// applied.
[[nodiscard]] ONEBEAT_HD inline std::int64_t slot_of_token(const PageMapView& map, std::int64_t row,
                                                           std::int64_t position,
                                                           std::int32_t shift,
                                                           const PageUpdate* begin,
                                                           const PageUpdate* end) {
  const std::int64_t column = map.of_slots ? position : position >> shift;
  const std::int64_t stored =
      load_index(map.data, map.wide, row * map.row_stride + column * map.column_stride);
  if (map.of_slots) return stored;
  const std::int64_t page = updated_entry(stored, column, begin, end);
  return page * (std::int64_t{1} << shift) + (position & ((std::int64_t{1} << shift) - 1));
}

/// How slots of the full pool become slots of the sliding-window pool.
struct WindowMapView {
  IndexView slot_of;
  std::int64_t size = 0;  ///< Slots of the full pool.
  bool identity = false;
};

[[nodiscard]] inline WindowMapView window_map_of(const StepArguments& step) {
  return {view_of(step.window_slot_of), step.window_slot_of.size, step.window_identity};
}

/// The window pool's slot, or -1 where there is none (a slot outside the pool, or one that was
/// freed there).
[[nodiscard]] ONEBEAT_HD inline std::int64_t window_slot_or_none(const WindowMapView& map,
                                                                 std::int64_t slot) {
  if (map.identity) return slot < 0 ? -1 : slot;
  if (slot < 0 || slot >= map.size) return -1;
  const std::int64_t mapped = load_index(map.slot_of, slot);
  return mapped < 0 ? -1 : mapped;
}

/// Entry of the sliding-window page table for a slot: translated first, then divided.
[[nodiscard]] ONEBEAT_HD inline std::int32_t window_page_of_slot(const WindowMapView& map,
                                                                 std::int64_t slot,
                                                                 std::int32_t shift) {
  const std::int64_t mapped = window_slot_or_none(map, slot);
  return mapped < 0 ? 0 : static_cast<std::int32_t>(mapped >> shift);
}

}  // namespace onebeat::step
