// SPDX-License-Identifier: Apache-2.0
// How the bits lie is told in ops/weight.h.
#include "ops/cpu/expand_blocks.h"

#include "base/check.h"
#include "ops/cpu/half.h"

namespace onebeat {
namespace {

/// A byte of the block as an unsigned number.
std::uint32_t u8(const std::byte* byte) {
  return std::to_integer<std::uint32_t>(*byte);
}

void expand_q5_0(const std::byte* block, float* out) {
  const float d = float_of_half(load_u16(block));
  const std::uint32_t fifth = load_u16(block + 2) | std::uint32_t{load_u16(block + 4)} << 16;
  for (std::uint32_t i = 0; i < 16; ++i) {
    const std::uint32_t byte = u8(block + 6 + i);
    const std::uint32_t low = (byte & 15) | (fifth >> i & 1) << 4;
    const std::uint32_t high = byte >> 4 | (fifth >> (i + 16) & 1) << 4;
    out[i] = d * static_cast<float>(static_cast<std::int32_t>(low) - 16);
    out[i + 16] = d * static_cast<float>(static_cast<std::int32_t>(high) - 16);
  }
}

void expand_q5_1(const std::byte* block, float* out) {
  const float d = float_of_half(load_u16(block));
  const float m = float_of_half(load_u16(block + 2));
  const std::uint32_t fifth = load_u16(block + 4) | std::uint32_t{load_u16(block + 6)} << 16;
  for (std::uint32_t i = 0; i < 16; ++i) {
    const std::uint32_t byte = u8(block + 8 + i);
    out[i] = d * static_cast<float>((byte & 15) | (fifth >> i & 1) << 4) + m;
    out[i + 16] = d * static_cast<float>(byte >> 4 | (fifth >> (i + 16) & 1) << 4) + m;
  }
}

/// The 6-bit scale and minimum of group g of 8. The first four groups lie in the low six bits of
/// bytes g and g+4; the others have their low four bits in byte g+4 and the upper two in the top of
/// the bytes of group g-4.
struct ScaleAndMinimum {
  float scale;
  float minimum;
};
ScaleAndMinimum scale_and_minimum(const std::byte* packed, int g) {
  if (g < 4) {
    return {static_cast<float>(u8(packed + g) & 63), static_cast<float>(u8(packed + g + 4) & 63)};
  }
  const std::uint32_t low = u8(packed + g + 4);
  return {static_cast<float>((low & 15) | u8(packed + g - 4) >> 6 << 4),
          static_cast<float>(low >> 4 | u8(packed + g) >> 6 << 4)};
}

/// Q4_K, and with `fifth` (a bit of each byte per group) Q5_K.
void expand_k(const std::byte* block, const std::byte* fifth, const std::byte* nibbles,
              float* out) {
  const float d = float_of_half(load_u16(block));
  const float d_minimum = float_of_half(load_u16(block + 2));
  for (int g = 0; g < 8; ++g) {
    const auto [scale, minimum] = scale_and_minimum(block + 4, g);
    const float factor = d * scale;
    const float offset = d_minimum * minimum;
    for (int i = 0; i < 32; ++i) {
      const std::uint32_t byte = u8(nibbles + g / 2 * 32 + i);
      std::uint32_t q = g % 2 == 0 ? byte & 15 : byte >> 4;
      if (fifth != nullptr) q |= (u8(fifth + i) >> g & 1) << 4;
      out[g * 32 + i] = factor * static_cast<float>(q) - offset;
    }
  }
}

void expand_q6_k(const std::byte* block, float* out) {
  const std::byte* low = block;           // 128 bytes of nibbles
  const std::byte* high = block + 128;    // 64 bytes of upper pairs of bits
  const std::byte* scales = block + 192;  // 16 signed bytes
  const float d = float_of_half(load_u16(block + 208));
  for (int group = 0; group < 8; ++group) {  // 32 elements
    const int half = group / 4;
    const int part = group % 4;
    for (int i = 0; i < 32; ++i) {
      const std::uint32_t byte = u8(low + half * 64 + part % 2 * 32 + i);
      const std::uint32_t nibble = part < 2 ? byte & 15 : byte >> 4;
      const std::uint32_t pair = u8(high + half * 32 + i) >> (2 * part) & 3;
      const auto q = static_cast<std::int32_t>(nibble | pair << 4) - 32;
      const auto scale = static_cast<std::int8_t>(scales[group * 2 + i / 16]);
      out[group * 32 + i] = d * static_cast<float>(scale) * static_cast<float>(q);
    }
  }
}

void expand_block(WeightType type, const std::byte* block, float* out) {
  switch (type) {
    case WeightType::kQ5_0:
      return expand_q5_0(block, out);
    case WeightType::kQ5_1:
      return expand_q5_1(block, out);
    case WeightType::kQ4_K:
      return expand_k(block, nullptr, block + 16, out);
    case WeightType::kQ5_K:
      return expand_k(block, block + 16, block + 48, out);
    case WeightType::kQ6_K:
      return expand_q6_k(block, out);
    default:
      ONEBEAT_CHECK(false);
  }
}

}  // namespace

void expand_packed_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  const std::int64_t elements = block_elements(type);
  for (std::int64_t i = 0; i < cols; i += elements, row += block_bytes(type)) {
    expand_block(type, row, out + i);
  }
}

}  // namespace onebeat
