// SPDX-License-Identifier: Apache-2.0
#include "ops/weight.h"

#include <limits>

#include "base/error.h"

namespace onebeat {

std::string_view to_string(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return "F32";
    case WeightType::kF16:
      return "F16";
    case WeightType::kBF16:
      return "BF16";
    case WeightType::kQ8_0:
      return "Q8_0";
    case WeightType::kQ4_0:
      return "Q4_0";
    case WeightType::kQ4_1:
      return "Q4_1";
    case WeightType::kQ5_0:
      return "Q5_0";
    case WeightType::kQ5_1:
      return "Q5_1";
    case WeightType::kQ4_K:
      return "Q4_K";
    case WeightType::kQ5_K:
      return "Q5_K";
    case WeightType::kQ6_K:
      return "Q6_K";
  }
  return "unknown";
}

Result<WeightView> make_weight_view(WeightType type, std::int64_t rows, std::int64_t cols,
                                    std::span<const std::byte> bytes) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  if (rows < 1 || cols < 1 || rows > kLargest || cols > kLargest) {
    return invalid_argument("a weight matrix of {} x {}; both sizes must be from 1 to {}", rows,
                            cols, kLargest);
  }
  if (cols % block_elements(type) != 0) {
    return invalid_argument("rows of {} elements cannot be {}: it takes multiples of {}", cols,
                            to_string(type), block_elements(type));
  }
  WeightView view{type, rows, cols, bytes.data()};
  // At most 2^31 * 2^31 * 4 bytes would overflow: compare by division.
  if (static_cast<std::int64_t>(bytes.size()) / view.row_bytes() != rows ||
      static_cast<std::int64_t>(bytes.size()) % view.row_bytes() != 0) {
    return data_loss("a {} matrix of {} x {} takes {} rows of {} bytes, but {} bytes are there",
                     to_string(type), rows, cols, rows, view.row_bytes(), bytes.size());
  }
  return view;
}

}  // namespace onebeat
