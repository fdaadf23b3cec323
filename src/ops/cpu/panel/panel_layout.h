// SPDX-License-Identifier: Apache-2.0
// Weights repacked for vector units: 16 rows side by side, so that a register holds the same
// columns of 16 rows, one load of activations serves all of them, and 16 scales are one vector.
//
// A panel is 16 rows (missing ones are zeros), a group of it 32 columns; panels follow each other
// in memory, groups follow each other in a panel. A group is, in this order:
// - the integers: nibbles[4][16][4], byte i of row r of vector v holding columns 4v + i (low) and
//   4v + i + 16 (high), or kQ8_0's bytes[8][16][4] with 128 added;
// - fifth bits, then sixth bits, of types that have them: masks[8], bit 4r + i of mask v belonging
//   to column 4v + i of row r;
// - the numbers of the group, 16 of each: {d} or {d, m} in fp16; kQ4_K and kQ5_K {s, m} in a byte
//   each; kQ6_K the signed scales of the first 16 columns, then those of the other 16.
// Types with blocks of 256 have {d, dm} or {d} of the panel's rows, in fp16, before every 8 groups.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace onebeat {

inline constexpr std::int64_t kPanelRows = 16;

/// Bytes of the parts of a panel.
struct PanelShape {
  std::int64_t integer_bytes = 256;  ///< Of a group.
  int extra_bits = 0;                ///< Bits beyond the nibble: masks of 64 bytes each.
  std::int64_t number_bytes = 0;     ///< Of a group, behind integers and masks.
  std::int64_t head_bytes = 0;       ///< Before every 8 groups.

  [[nodiscard]] constexpr std::int64_t group_bytes() const {
    return integer_bytes + 64 * extra_bits + number_bytes;
  }
  /// Where group `index` of a panel begins.
  [[nodiscard]] constexpr std::int64_t group_place(std::int64_t index) const {
    return index * group_bytes() + (head_bytes == 0 ? 0 : (index / 8 + 1) * head_bytes);
  }
  /// Where the head of the group's 8 begins.
  [[nodiscard]] constexpr std::int64_t head_place(std::int64_t index) const {
    return index / 8 * (8 * group_bytes() + head_bytes);
  }
};

/// Requires: block_elements(type) > 1.
[[nodiscard]] constexpr PanelShape panel_shape(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0:
      return {512, 0, 32, 0};
    case WeightType::kQ4_0:
      return {256, 0, 32, 0};
    case WeightType::kQ4_1:
      return {256, 0, 64, 0};
    case WeightType::kQ5_0:
      return {256, 1, 32, 0};
    case WeightType::kQ5_1:
      return {256, 1, 64, 0};
    case WeightType::kQ4_K:
      return {256, 0, 32, 64};
    case WeightType::kQ5_K:
      return {256, 1, 32, 64};
    case WeightType::kQ6_K:
      return {256, 2, 32, 32};
    default:
      return {};
  }
}

/// What is taken from the stored unsigned integers.
[[nodiscard]] constexpr int panel_centre(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0:
      return 128;
    case WeightType::kQ4_0:
      return 8;
    case WeightType::kQ5_0:
      return 16;
    case WeightType::kQ6_K:
      return 32;
    default:
      return 0;
  }
}

/// Whether weights are d*q + m, not d*q alone.
[[nodiscard]] constexpr bool panel_has_offset(WeightType type) {
  return type == WeightType::kQ4_1 || type == WeightType::kQ5_1 || type == WeightType::kQ4_K ||
         type == WeightType::kQ5_K;
}

/// A type as a type, for templates.
template <WeightType kTheType>
struct PanelType {
  static constexpr WeightType kType = kTheType;
};

/// Calls `body` with the PanelType of `type`. Requires: block_elements(type) > 1.
template <typename Body>
void for_panel_type(WeightType type, Body&& body) {
  switch (type) {
    case WeightType::kQ8_0:
      return body(PanelType<WeightType::kQ8_0>());
    case WeightType::kQ4_0:
      return body(PanelType<WeightType::kQ4_0>());
    case WeightType::kQ4_1:
      return body(PanelType<WeightType::kQ4_1>());
    case WeightType::kQ5_0:
      return body(PanelType<WeightType::kQ5_0>());
    case WeightType::kQ5_1:
      return body(PanelType<WeightType::kQ5_1>());
    case WeightType::kQ4_K:
      return body(PanelType<WeightType::kQ4_K>());
    case WeightType::kQ5_K:
      return body(PanelType<WeightType::kQ5_K>());
    case WeightType::kQ6_K:
      return body(PanelType<WeightType::kQ6_K>());
    default:
      return;
  }
}

/// Bytes of one panel of `cols` columns, and of a whole matrix.
[[nodiscard]] constexpr std::int64_t panel_bytes(WeightType type, std::int64_t cols) {
  const PanelShape shape = panel_shape(type);
  return cols / kQuantBlock * shape.group_bytes() + cols / kLargeQuantBlock * shape.head_bytes;
}
[[nodiscard]] constexpr std::int64_t panels_of(std::int64_t rows) {
  return (rows + kPanelRows - 1) / kPanelRows;
}
[[nodiscard]] constexpr std::int64_t packed_bytes(const WeightView& weight) {
  return panels_of(weight.rows) * panel_bytes(weight.type, weight.cols);
}

/// Repacks panel `index` of `weight` (in rows) to panel_bytes() bytes at `out`.
void pack_panel(const WeightView& weight, std::int64_t index, std::byte* out);

/// Expands one row of a repacked matrix to fp32: the same bits as from the file's layout.
void expand_panel_row(const WeightView& weight, std::int64_t row, float* out);

}  // namespace onebeat
