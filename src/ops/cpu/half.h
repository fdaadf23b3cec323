// SPDX-License-Identifier: Apache-2.0
// fp16 and bf16 in plain C++, for paths without conversion instructions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace onebeat {

[[nodiscard]] inline float float_of_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Exact, subnormal numbers, infinities and NaN included.
[[nodiscard]] inline float float_of_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  }
  // Moved to the place of a float, the number is too small by 2^112; the product is exact, also for
  // subnormals.
  const float scaled = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

/// Reads two bytes that need not be aligned.
[[nodiscard]] inline std::uint16_t load_u16(const std::byte* bytes) {
  std::uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

}  // namespace onebeat
