// SPDX-License-Identifier: Apache-2.0
// Products of many tokens with weights on the tile instructions (AMX) of server processors: both
// factors are bf16, sums are fp32. Weights are expanded as they are needed and serve all tokens.
//
// Numbers with more digits than bf16 has are sums of two parts, the nearest bf16 and the nearest to
// what is left; the product of the two second parts is left out. Unquantised weights and the
// activations that meet them have two parts (BF16 weights one), so that these products have 16
// bits; with quantised weights one part of each is multiplied, which is four times as exact as
// activations of 8 bits in blocks of 32.
//
// A tile is 16 rows of 32 numbers. Columns beyond the end and tokens beyond the last are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace onebeat {

inline constexpr std::int64_t kTileTokens = 16;
inline constexpr std::int64_t kTileColumns = 32;
inline constexpr std::int64_t kBytesOfTile = 1024;

[[nodiscard]] constexpr std::int64_t tiles_of_columns(std::int64_t cols) {
  return (cols + kTileColumns - 1) / kTileColumns;
}

/// Parts of an activation that weights of `type` meet, and of such a weight.
[[nodiscard]] constexpr int parts_of_activation(WeightType type) {
  return block_elements(type) > 1 ? 1 : 2;
}
[[nodiscard]] constexpr int parts_of_weight(WeightType type) {
  return type == WeightType::kF32 || type == WeightType::kF16 ? 2 : 1;
}

/// Activations: tiles[16 tokens each][parts][32 columns each].
struct TileActivations {
  std::byte* tiles = nullptr;  ///< Aligned to 64 bytes.
  std::int64_t tokens = 0;
  std::int64_t cols = 0;
  int parts = 1;

  [[nodiscard]] std::int64_t blocks() const { return (tokens + kTileTokens - 1) / kTileTokens; }
  [[nodiscard]] std::int64_t part_bytes() const { return tiles_of_columns(cols) * kBytesOfTile; }
  [[nodiscard]] std::int64_t block_bytes() const { return parts * part_bytes(); }
  [[nodiscard]] std::int64_t bytes() const { return blocks() * block_bytes(); }
};

/// Fills the tiles of block `block`. Requires: amx_usable().
void arrange_tokens(ConstMatrix x, const TileActivations& to, std::int64_t block);

/// Expands tiles [first, first + count) of the 16 rows from `row` (a multiple of 16) on to
/// [parts_of_weight()][count] tiles at `to`, of pairs of columns. Repacked or unquantised weights.
/// Requires: amx_usable().
void expand_tiles(const WeightView& weight, std::int64_t row, std::int64_t first,
                  std::int64_t count, std::byte* to);

/// out[t, r] = (add ? out[t, r] : 0) + the products of `columns` tiles of columns, for up to 32
/// rows of weights.
struct TileProduct {
  const TileActivations* x = nullptr;
  std::int64_t first_column = 0;  ///< A tile of x.
  std::int64_t columns = 0;       ///< Tiles.
  std::int64_t first_block = 0;   ///< Of 16 tokens.
  std::int64_t blocks = 0;
  const std::byte* weights = nullptr;  ///< What expand_tiles() made of one or two times 16 rows.
  std::int64_t rows = 0;               ///< Of weights, at most 32.
  int weight_parts = 1;
  int x_parts = 1;       ///< That are multiplied; at most those that x has.
  float* out = nullptr;  ///< Of x's first token.
  std::int64_t out_stride = 0;
  bool add = false;
};

/// Requires: amx_usable().
void multiply_tiles(const TileProduct& product);

}  // namespace onebeat
