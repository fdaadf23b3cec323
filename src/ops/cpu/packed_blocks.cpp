// SPDX-License-Identifier: Apache-2.0
// How the bits lie is told in ops/weight.h.
#include "ops/cpu/packed_blocks.h"

#include "base/check.h"
#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/half.h"

namespace onebeat {
namespace {

/// A byte of the block as an unsigned number.
std::uint32_t u8(const std::byte* byte) {
  return std::to_integer<std::uint32_t>(*byte);
}

/// A block of 32 with `head` bytes of scales before the fifth bits.
void unpack_five_bits(const std::byte* block, int head, int centre, PackedGroup& group) {
  const std::byte* nibbles = block + head + 4;
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t low_fifth = u8(block + head + i / 8) >> (i % 8) & 1;
    const std::uint32_t high_fifth = u8(block + head + 2 + i / 8) >> (i % 8) & 1;
    const auto low = static_cast<int>((u8(nibbles + i) & 15) | low_fifth << 4);
    const auto high = static_cast<int>(u8(nibbles + i) >> 4 | high_fifth << 4);
    group.q[i] = static_cast<std::int8_t>(low - centre);
    group.q[i + 16] = static_cast<std::int8_t>(high - centre);
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
void unpack_k(const std::byte* block, const std::byte* fifth, const std::byte* nibbles, int g,
              PackedGroup& group) {
  const auto [scale, minimum] = scale_and_minimum(block + 4, g);
  group.scale[0] = group.scale[1] = float_of_half(load_u16(block)) * scale;
  group.offset = -(float_of_half(load_u16(block + 2)) * minimum);
  for (int i = 0; i < kQuantBlock; ++i) {
    const std::uint32_t byte = u8(nibbles + g / 2 * 32 + i);
    std::uint32_t q = g % 2 == 0 ? byte & 15 : byte >> 4;
    if (fifth != nullptr) q |= (u8(fifth + i) >> g & 1) << 4;
    group.q[i] = static_cast<std::int8_t>(q);
  }
}

void unpack_q6_k(const std::byte* block, int g, PackedGroup& group) {
  const int half = g / 4;
  const int part = g % 4;
  const std::byte* low = block + half * 64 + part % 2 * 32;  // nibbles
  const std::byte* pairs = block + 128 + half * 32;          // upper two bits
  const float d = float_of_half(load_u16(block + 208));
  for (int i = 0; i < 2; ++i) {
    group.scale[i] = d * static_cast<float>(static_cast<std::int8_t>(block[192 + 2 * g + i]));
  }
  for (int i = 0; i < kQuantBlock; ++i) {
    const std::uint32_t nibble = part < 2 ? u8(low + i) & 15 : u8(low + i) >> 4;
    const std::uint32_t pair = u8(pairs + i) >> (2 * part) & 3;
    group.q[i] = static_cast<std::int8_t>(static_cast<int>(nibble | pair << 4) - 32);
  }
}

float dot_row(const WeightView& weight, const std::byte* row, const ActivationBlock* x) {
  const int groups = static_cast<int>(block_elements(weight.type) / kQuantBlock);
  float total = 0;
  for (std::int64_t b = 0; b < weight.cols / kQuantBlock; ++b) {
    const PackedGroup group = unpack_group(weight.type, row + b / groups * block_bytes(weight.type),
                                           static_cast<int>(b % groups));
    int sums[2] = {};
    for (int i = 0; i < kQuantBlock; ++i) sums[i / 16] += group.q[i] * x[b].q[i];
    total += x[b].d * group.scale[0] * static_cast<float>(sums[0]);
    total += x[b].d * group.scale[1] * static_cast<float>(sums[1]);
    if (group.has_offset) total += group.offset * x[b].s;
  }
  return total;
}

}  // namespace

PackedGroup unpack_group(WeightType type, const std::byte* block, int index) {
  PackedGroup group;
  group.offset = 0;
  group.has_offset = type != WeightType::kQ5_0 && type != WeightType::kQ6_K;
  switch (type) {
    case WeightType::kQ5_0:
      group.scale[0] = group.scale[1] = float_of_half(load_u16(block));
      unpack_five_bits(block, 2, 16, group);
      return group;
    case WeightType::kQ5_1:
      group.scale[0] = group.scale[1] = float_of_half(load_u16(block));
      group.offset = float_of_half(load_u16(block + 2));
      unpack_five_bits(block, 4, 0, group);
      return group;
    case WeightType::kQ4_K:
      unpack_k(block, nullptr, block + 16, index, group);
      return group;
    case WeightType::kQ5_K:
      unpack_k(block, block + 16, block + 48, index, group);
      return group;
    case WeightType::kQ6_K:
      unpack_q6_k(block, index, group);
      return group;
    default:
      ONEBEAT_CHECK(false);
      return group;
  }
}

void expand_packed_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  const int groups = static_cast<int>(block_elements(type) / kQuantBlock);
  for (std::int64_t i = 0; i < cols; i += block_elements(type), row += block_bytes(type)) {
    for (int g = 0; g < groups; ++g, out += kQuantBlock) {
      const PackedGroup group = unpack_group(type, row, g);
      for (int j = 0; j < kQuantBlock; ++j) {
        out[j] = group.scale[j / 16] * static_cast<float>(group.q[j]);
        if (group.has_offset) out[j] += group.offset;
      }
    }
  }
}

void dot_packed_portable(const DotTask& task, const std::byte* x) {
  const std::int64_t x_row_bytes = activation_row_bytes(task.weight.type, task.weight.cols);
  for (std::int64_t r = task.row_begin; r < task.row_end; ++r) {
    for (std::int64_t t = 0; t < task.tokens; ++t) {
      const float value = dot_row(task.weight, task.weight.row(r),
                                  reinterpret_cast<const ActivationBlock*>(x + t * x_row_bytes));
      float& out = task.out[t * task.out_stride + r];
      out = task.add ? out + value : value;
    }
  }
}

}  // namespace onebeat
