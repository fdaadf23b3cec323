// SPDX-License-Identifier: Apache-2.0
// A matrix of weights as it lies in a model file: quantised weights stay quantised in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// Element types that weights may have. The quantised ones come in blocks of 32 elements of one
/// row: kQ8_0: {fp16 d, 32 x int8 q}, 34 bytes, w = d*q. kQ4_0: {fp16 d, 16 bytes}, 18 bytes, w =
/// d*(q-8); the low nibble of byte j is element j, the high one element j+16. kQ4_1: {fp16 d, fp16
/// m, 16 bytes}, 20 bytes, w = d*q + m; nibbles as above.
enum class WeightType : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

/// "F32", "Q4_1", ...; static storage.
[[nodiscard]] std::string_view to_string(WeightType type);

/// Elements of a quantised block; activations are quantised in blocks of the same size.
inline constexpr std::int64_t kQuantBlock = 32;

/// Elements that are stored together: 32 if quantised, else 1.
[[nodiscard]] constexpr std::int64_t block_elements(WeightType type) {
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
  }
  return 0;
}

/// A matrix [rows, cols], rows one after the other without gaps. Borrows the bytes (usually a file
/// mapping, aligned to 2 bytes or better); copies freely. A vector is a matrix of one row.
struct WeightView {
  WeightType type = WeightType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* bytes = nullptr;

  [[nodiscard]] bool empty() const { return bytes == nullptr; }
  [[nodiscard]] std::int64_t row_bytes() const {
    return cols / block_elements(type) * block_bytes(type);
  }
  [[nodiscard]] std::int64_t size_bytes() const { return rows * row_bytes(); }
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
