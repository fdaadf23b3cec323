// SPDX-License-Identifier: Apache-2.0
// A matrix of weights as it lies in a model file: quantised weights stay quantised in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// Element types that weights may have. The quantised ones come in blocks of elements of one row;
/// d, m and the like are fp16, and the low nibble of byte j comes before the high one.
/// Blocks of 32, where byte j of the nibbles holds elements j and j + 16:
/// - kQ8_0: {d, 32 x int8 q}, 34 bytes, w = d*q.
/// - kQ4_0: {d, nibbles[16]}, 18 bytes, w = d*(q-8). kQ4_1: {d, m, nibbles[16]}, 20 bytes, w = d*q
/// + m.
/// - kQ5_0: {d, fifth[4], nibbles[16]}, 22 bytes, w = d*(q-16); bit j of `fifth` is the fifth bit
/// of
///   element j. kQ5_1: {d, m, fifth[4], nibbles[16]}, 24 bytes, w = d*q + m.
/// Blocks of 256 with scales of their own:
/// - kQ4_K: {d, dm, scales[12], nibbles[128]}, 144 bytes, 8 groups of 32 with a 6-bit scale s and
///   minimum m each: w = (d*s)*q - dm*m; bytes 32k..32k+31 hold groups 2k (low) and 2k + 1 (high).
/// - kQ5_K: {d, dm, scales[12], fifth[32], nibbles[128]}, 176 bytes; bit g of fifth[i] is the fifth
///   bit of element i of group g.
/// - kQ6_K: {nibbles[128], pairs[64], int8 scales[16], d}, 210 bytes, 16 groups of 16:
///   w = (d*s)*(q-32). Per half of 128 elements, groups of 32 in order: low nibbles of bytes 0..31,
///   of bytes 32..63, then the high ones; byte i of the half's 32 pairs has the upper two bits of
///   element i of each.
enum class WeightType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K
};

/// "F32", "Q4_1", ...; static storage.
[[nodiscard]] std::string_view to_string(WeightType type);

/// Elements of the smaller quantised blocks; activations are quantised in blocks of this size.
inline constexpr std::int64_t kQuantBlock = 32;
/// Elements of the larger ones.
inline constexpr std::int64_t kLargeQuantBlock = 256;

/// Elements that are stored together: 32 or 256 if quantised, else 1.
[[nodiscard]] constexpr std::int64_t block_elements(WeightType type) {
  if (type >= WeightType::kQ4_K) return kLargeQuantBlock;
  return type >= WeightType::kQ8_0 ? kQuantBlock : 1;
}

/// Bytes of such a block.
[[nodiscard]] constexpr std::int64_t block_bytes(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return 4;
    case WeightType::kF16:
    case WeightType::kBF16:
      return 2;
    case WeightType::kQ8_0:
      return 34;
    case WeightType::kQ4_0:
      return 18;
    case WeightType::kQ4_1:
      return 20;
    case WeightType::kQ5_0:
      return 22;
    case WeightType::kQ5_1:
      return 24;
    case WeightType::kQ4_K:
      return 144;
    case WeightType::kQ5_K:
      return 176;
    case WeightType::kQ6_K:
      return 210;
  }
  return 0;
}

/// How a matrix lies in memory.
enum class WeightLayout : std::uint8_t {
  kRows,    ///< As in a file: rows one after the other without gaps.
  kPanels,  ///< 16 rows side by side, as pack_weights() makes them for a CPU's vector units.
};

/// A matrix [rows, cols]. Borrows the bytes (usually a file mapping, aligned to 2 bytes or better);
/// copies freely. A vector is a matrix of one row.
struct WeightView {
  WeightType type = WeightType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* bytes = nullptr;
  WeightLayout layout = WeightLayout::kRows;

  [[nodiscard]] bool empty() const { return bytes == nullptr; }
  [[nodiscard]] std::int64_t row_bytes() const {
    return cols / block_elements(type) * block_bytes(type);
  }
  [[nodiscard]] std::int64_t size_bytes() const { return rows * row_bytes(); }
  /// Requires: layout kRows.
  [[nodiscard]] const std::byte* row(std::int64_t index) const {
    return bytes + index * row_bytes();
  }
};

/// Makes a view of `bytes`. Errors: kInvalidArgument if cols is no multiple of the type's block or
/// the sizes are not positive; kDataLoss if `bytes` is not exactly as long as the matrix.
[[nodiscard]] Result<WeightView> make_weight_view(WeightType type, std::int64_t rows,
                                                  std::int64_t cols,
                                                  std::span<const std::byte> bytes);

/// Rows of fp32 numbers `stride` elements apart. Borrows.
struct ConstMatrix {
  const float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  [[nodiscard]] const float* row(std::int64_t index) const { return data + index * stride; }
};

/// The same, writable.
struct Matrix {
  float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  [[nodiscard]] float* row(std::int64_t index) const { return data + index * stride; }
  operator ConstMatrix() const {
    return {data, rows, cols, stride};
  }  // NOLINT(google-explicit-constructor)
};

}  // namespace onebeat
