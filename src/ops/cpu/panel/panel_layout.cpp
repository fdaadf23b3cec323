// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/panel/panel_layout.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/half.h"
#include "ops/cpu/packed_blocks.h"

namespace onebeat {
namespace {

/// Four neighbouring columns of a row.
using Word = std::uint32_t;
constexpr Word kLowNibbles = 0x0f0f0f0f;

Word load_word(const std::byte* bytes) {
  Word word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

void store_word(std::byte* vectors, std::int64_t vector, std::int64_t row, Word word) {
  std::memcpy(vectors + vector * 64 + row * 4, &word, sizeof(word));
}

/// Bits of 32 columns of one row, to the masks of their vectors.
void store_bits(std::byte* masks, std::int64_t row, std::uint32_t bits) {
  for (std::int64_t v = 0; v < 8; ++v) {
    std::byte& pair = masks[v * 8 + row / 2];
    pair |= static_cast<std::byte>((bits >> (4 * v) & 15) << (row % 2 * 4));
  }
}

std::uint32_t bits_of_row(const std::byte* masks, std::int64_t row) {
  std::uint32_t bits = 0;
  for (std::uint32_t v = 0; v < 8; ++v) {
    const auto pair = std::to_integer<std::uint32_t>(masks[v * 8 + row / 2]);
    bits |= (pair >> (row % 2 * 4) & 15) << (4 * v);
  }
  return bits;
}

/// Bit `bit` of each of 32 bytes.
std::uint32_t gather_bits(const std::byte* bytes, int bit) {
  std::uint32_t bits = 0;
  for (int i = 0; i < kQuantBlock; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, bytes + i, sizeof(eight));
    // The product moves the lowest bit of byte n to bit n of the highest byte.
    eight = (eight >> bit & 0x0101010101010101) * 0x0102040810204080 >> 56;
    bits |= static_cast<std::uint32_t>(eight) << i;
  }
  return bits;
}

/// One row's block of 32, for row `row` of a group at `out`.
template <WeightType kType>
void pack_small_block(const std::byte* block, std::int64_t row, std::byte* out) {
  constexpr PanelShape shape = panel_shape(kType);
  std::byte* numbers = out + shape.integer_bytes + 64 * shape.extra_bits;
  const std::int64_t count = shape.number_bytes / 32;
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(numbers + 32 * i + 2 * row, block + 2 * i, 2);
  block += 2 * count;
  if constexpr (kType == WeightType::kQ8_0) {
    for (std::int64_t v = 0; v < 8; ++v) {
      store_word(out, v, row, load_word(block + 4 * v) ^ 0x80808080u);
    }
    return;
  }
  if constexpr (shape.extra_bits == 1) {
    store_bits(out + shape.integer_bytes, row, load_word(block));
    block += 4;
  }
  for (std::int64_t v = 0; v < 4; ++v) store_word(out, v, row, load_word(block + 4 * v));
}

/// Nibbles that lie 32 bytes for two groups (the low ones' group first), for one of them.
void pack_nibbles_of_pair(const std::byte* bytes, bool high, std::int64_t row, std::byte* out) {
  for (std::int64_t v = 0; v < 4; ++v) {
    const Word first = load_word(bytes + 4 * v) >> (high ? 4 : 0) & kLowNibbles;
    const Word second = load_word(bytes + 16 + 4 * v) >> (high ? 4 : 0) & kLowNibbles;
    store_word(out, v, row, first | second << 4);
  }
}

/// The 6-bit scale and minimum of group g, as packed_blocks.cpp tells.
void unpack_scale_and_minimum(const std::byte* packed, int g, std::byte& scale,
                              std::byte& minimum) {
  const auto u8 = [packed](int i) { return std::to_integer<unsigned>(packed[i]); };
  if (g < 4) {
    scale = static_cast<std::byte>(u8(g) & 63);
    minimum = static_cast<std::byte>(u8(g + 4) & 63);
  } else {
    scale = static_cast<std::byte>((u8(g + 4) & 15) | u8(g - 4) >> 6 << 4);
    minimum = static_cast<std::byte>(u8(g + 4) >> 4 | u8(g) >> 6 << 4);
  }
}

/// One row's block of 256, for row `row` of 8 groups whose head is at `out`.
template <WeightType kType>
void pack_large_block(const std::byte* block, std::int64_t row, std::byte* out) {
  constexpr PanelShape shape = panel_shape(kType);
  constexpr bool six = kType == WeightType::kQ6_K;
  for (std::int64_t i = 0; i < shape.head_bytes / 32; ++i) {
    std::memcpy(out + 32 * i + 2 * row, block + (six ? 208 : 2 * i), 2);
  }
  for (int g = 0; g < 8; ++g) {
    std::byte* group = out + shape.head_bytes + g * shape.group_bytes();
    std::byte* masks = group + shape.integer_bytes;
    std::byte* numbers = masks + 64 * shape.extra_bits;
    if (six) {
      const int half = g / 4;
      const int part = g % 4;
      pack_nibbles_of_pair(block + half * 64 + part % 2 * 32, part >= 2, row, group);
      const std::byte* pairs = block + 128 + half * 32;
      store_bits(masks, row, gather_bits(pairs, 2 * part));
      store_bits(masks + 64, row, gather_bits(pairs, 2 * part + 1));
      numbers[row] = block[192 + 2 * g];
      numbers[16 + row] = block[192 + 2 * g + 1];
      continue;
    }
    const std::byte* fifth = block + 16;
    const std::byte* nibbles = fifth + (shape.extra_bits == 1 ? 32 : 0);
    pack_nibbles_of_pair(nibbles + g / 2 * 32, g % 2 == 1, row, group);
    if (shape.extra_bits == 1) store_bits(masks, row, gather_bits(fifth, g));
    unpack_scale_and_minimum(block + 4, g, numbers[row], numbers[16 + row]);
  }
}

/// The scales (of 16 columns each) and the offset of a row's group.
struct GroupNumbers {
  float scale[2];
  float offset = 0;
  bool has_offset = false;
};

GroupNumbers numbers_of(WeightType type, const std::byte* panel, std::int64_t group,
                        std::int64_t row) {
  const PanelShape shape = panel_shape(type);
  const std::byte* numbers =
      panel + shape.group_place(group) + shape.integer_bytes + 64 * shape.extra_bits;
  const std::byte* head = panel + shape.head_place(group);
  const auto half = [row](const std::byte* halves) {
    return float_of_half(load_u16(halves + 2 * row));
  };
  const auto small = [](std::byte byte) { return static_cast<float>(std::to_integer<int>(byte)); };
  GroupNumbers found;
  if (type == WeightType::kQ6_K) {
    const float d = half(head);
    for (int i = 0; i < 2; ++i) {
      found.scale[i] = d * static_cast<float>(static_cast<std::int8_t>(numbers[16 * i + row]));
    }
    return found;
  }
  if (shape.head_bytes != 0) {
    found.scale[0] = found.scale[1] = half(head) * small(numbers[row]);
    found.offset = -(half(head + 32) * small(numbers[16 + row]));
    found.has_offset = true;
    return found;
  }
  found.scale[0] = found.scale[1] = half(numbers);
  found.has_offset = shape.number_bytes == 64;
  if (found.has_offset) found.offset = half(numbers + 32);
  return found;
}

/// A group of 16 rows, register by register: what is written lies together.
template <WeightType kType>
void pack_whole_group(const std::byte* rows, std::int64_t row_bytes, std::byte* out) {
  constexpr PanelShape shape = panel_shape(kType);
  constexpr std::int64_t numbers = shape.number_bytes / 32;
  const std::byte* integers = rows + 2 * numbers;
  if constexpr (shape.extra_bits == 1) {
    std::uint64_t masks[8] = {};
    for (std::int64_t r = 0; r < kPanelRows; ++r) {
      const std::uint64_t bits = load_word(integers + r * row_bytes);
      for (int v = 0; v < 8; ++v) masks[v] |= (bits >> (4 * v) & 15) << (4 * r);
    }
    std::memcpy(out + shape.integer_bytes, masks, sizeof(masks));
    integers += sizeof(Word);
  }
  for (std::int64_t v = 0; v < shape.integer_bytes / 64; ++v) {
    const std::byte* from = integers + 4 * v;
    Word words[kPanelRows];
    for (std::int64_t r = 0; r < kPanelRows; ++r) words[r] = load_word(from + r * row_bytes);
    if constexpr (kType == WeightType::kQ8_0) {
      for (Word& word : words) word ^= 0x80808080u;
    }
    std::memcpy(out + 64 * v, words, sizeof(words));
  }
  out += shape.integer_bytes + 64 * shape.extra_bits;
  for (std::int64_t i = 0; i < numbers; ++i) {
    for (std::int64_t r = 0; r < kPanelRows; ++r) {
      std::memcpy(out + 32 * i + 2 * r, rows + r * row_bytes + 2 * i, 2);
    }
  }
}

/// Panels of one type: what depends on it is decided once.
template <WeightType kType>
void pack_panel_of(const WeightView& weight, std::int64_t index, std::byte* out) {
  constexpr PanelShape shape = panel_shape(kType);
  constexpr bool large = block_elements(kType) == kLargeQuantBlock;
  constexpr std::int64_t step =
      large ? 8 * shape.group_bytes() + shape.head_bytes : shape.group_bytes();
  const std::int64_t block = block_bytes(kType);
  const std::int64_t count = std::min(kPanelRows, weight.rows - index * kPanelRows);
  const std::byte* rows = weight.row(index * kPanelRows);
  if ((large && shape.extra_bits != 0) || count < kPanelRows) {  // bits are added one by one
    std::memset(out, 0, static_cast<std::size_t>(panel_bytes(kType, weight.cols)));
  }
  const std::int64_t row_bytes = weight.row_bytes();
  const std::int64_t blocks = weight.cols / block_elements(kType);
  for (std::int64_t b = 0; b < blocks; ++b, out += step, rows += block) {
    if constexpr (!large) {
      if (count == kPanelRows) {
        pack_whole_group<kType>(rows, row_bytes, out);
        continue;
      }
    }
    for (std::int64_t r = 0; r < count; ++r) {
      if constexpr (large) {
        pack_large_block<kType>(rows + r * row_bytes, r, out);
      } else {
        pack_small_block<kType>(rows + r * row_bytes, r, out);
      }
    }
  }
}

}  // namespace

void pack_panel(const WeightView& weight, std::int64_t index, std::byte* out) {
  ONEBEAT_CHECK(weight.layout == WeightLayout::kRows && block_elements(weight.type) > 1);
  switch (weight.type) {
#define ONEBEAT_PACK(type) \
  case WeightType::type:   \
    return pack_panel_of<WeightType::type>(weight, index, out);
    ONEBEAT_PACK(kQ8_0)
    ONEBEAT_PACK(kQ4_0)
    ONEBEAT_PACK(kQ4_1)
    ONEBEAT_PACK(kQ5_0)
    ONEBEAT_PACK(kQ5_1)
    ONEBEAT_PACK(kQ4_K)
    ONEBEAT_PACK(kQ5_K)
    ONEBEAT_PACK(kQ6_K)
#undef ONEBEAT_PACK
    default:
      ONEBEAT_CHECK(false);
  }
}

void expand_panel_row(const WeightView& weight, std::int64_t row, float* out) {
  ONEBEAT_CHECK(weight.layout == WeightLayout::kPanels);
  const PanelShape shape = panel_shape(weight.type);
  const std::int64_t place = row % kPanelRows;
  const std::byte* panel = weight.bytes + row / kPanelRows * panel_bytes(weight.type, weight.cols);
  const int centre = panel_centre(weight.type);
  for (std::int64_t g = 0; g < weight.cols / kQuantBlock; ++g, out += kQuantBlock) {
    const std::byte* integers = panel + shape.group_place(g);
    const GroupNumbers numbers = numbers_of(weight.type, panel, g, place);
    std::uint32_t bits[2] = {};
    for (int i = 0; i < shape.extra_bits; ++i) {
      bits[i] = bits_of_row(integers + shape.integer_bytes + 64 * i, place);
    }
    for (int i = 0; i < kQuantBlock; ++i) {
      const bool bytes = shape.integer_bytes == 512;
      const int vector = bytes ? i / 4 : i % 16 / 4;
      int q = std::to_integer<int>(integers[vector * 64 + place * 4 + i % 4]);
      if (!bytes) q = i < 16 ? q & 15 : q >> 4;
      q |= static_cast<int>((bits[0] >> i & 1) << 4 | (bits[1] >> i & 1) << 5);
      out[i] = numbers.scale[i / 16] * static_cast<float>(q - centre);
      if (numbers.has_offset) out[i] += numbers.offset;
    }
  }
}

}  // namespace onebeat
