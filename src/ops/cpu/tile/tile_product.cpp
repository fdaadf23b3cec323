// SPDX-License-Identifier: Apache-2.0
// Two times 16 tokens meet two times 16 rows of weights: four sums stay in tiles while every tile
// that is loaded is multiplied twice.
#include "ops/cpu/tile/tile_product.h"

#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <algorithm>

#include "device/amx_tiles_inl.h"

namespace onebeat {
namespace {

/// Where a tile of sums goes: to the output itself, or through `room` where it is cut.
struct Place {
  float* out = nullptr;
  std::int64_t stride = 0;
  std::int64_t tokens = 0;
  std::int64_t rows = 0;
  float* room = nullptr;

  [[nodiscard]] bool whole() const { return tokens >= kTile && rows >= kTile; }
  [[nodiscard]] float* memory() const { return whole() ? out : room; }
  [[nodiscard]] std::int64_t memory_stride() const { return whole() ? 4 * stride : 64; }
};

ONEBEAT_AMX_INLINE void copy_rows(const Place& place, bool out_to_room) {
  const auto lanes = static_cast<__mmask16>((1u << std::min<std::int64_t>(place.rows, kTile)) - 1);
  for (std::int64_t t = 0; t < kTile; ++t) {
    float* room = place.room + t * kTile;
    float* out = place.out + t * place.stride;
    if (t >= place.tokens) {
      _mm512_store_ps(room, _mm512_setzero_ps());
    } else if (out_to_room) {
      _mm512_store_ps(room, _mm512_maskz_loadu_ps(lanes, out));
    } else {
      _mm512_mask_storeu_ps(out, lanes, _mm512_load_ps(room));
    }
  }
}

/// The sums of kBlocks times 16 tokens and kPanels times 16 rows; tile 2 * block + panel.
template <int kBlocks, int kPanels>
ONEBEAT_AMX void multiply(const TileProduct& p, std::int64_t block) {
  alignas(64) float room[4][kTile * kTile];
  Place places[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    if (i / 2 >= kBlocks || i % 2 >= kPanels) continue;
    const std::int64_t token = (block + i / 2) * kTileTokens;
    const std::int64_t row = i % 2 * kTile;
    places[i] = {p.out + token * p.out_stride + row, p.out_stride, p.x->tokens - token,
                 p.rows - row, room[i]};
    if (p.add && !places[i].whole()) copy_rows(places[i], true);
  }
  const auto start = [&]() ONEBEAT_AMX {
    if (p.add) {
      _tile_loadd(0, places[0].memory(), places[0].memory_stride());
      if constexpr (kPanels == 2) _tile_loadd(1, places[1].memory(), places[1].memory_stride());
      if constexpr (kBlocks == 2) _tile_loadd(2, places[2].memory(), places[2].memory_stride());
      if constexpr (kBlocks * kPanels == 4)
        _tile_loadd(3, places[3].memory(), places[3].memory_stride());
      return;
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  };
  start();
  const std::int64_t weight_part = p.columns * kBytesOfTile;
  const std::int64_t weight_panel = p.weight_parts * weight_part;
  const std::int64_t next_block = p.x->block_bytes();
  const std::byte* x_begin = p.x->tiles + block * next_block + p.first_column * kBytesOfTile;
  // Products of parts: (0, 0), then (1, 0), then (0, 1).
  const int products = p.x_parts + p.weight_parts - 1;
  for (int i = 0; i < products; ++i) {
    const std::byte* x = x_begin + (p.x_parts == 2 && i == 1 ? p.x->part_bytes() : 0);
    const std::byte* w = p.weights + (i > 0 && i == p.x_parts ? weight_part : 0);
    for (std::int64_t k = 0; k < p.columns; ++k, x += kBytesOfTile, w += kBytesOfTile) {
      _tile_loadd(6, w, 64);
      _tile_loadd(4, x, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kPanels == 2) {
        _tile_loadd(7, w + weight_panel, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (kBlocks == 2) {
        _tile_loadd(5, x + next_block, 64);
        _tile_dpbf16ps(2, 5, 6);
        if constexpr (kPanels == 2) _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, places[0].memory(), places[0].memory_stride());
  if constexpr (kPanels == 2) _tile_stored(1, places[1].memory(), places[1].memory_stride());
  if constexpr (kBlocks == 2) _tile_stored(2, places[2].memory(), places[2].memory_stride());
  if constexpr (kBlocks * kPanels == 4)
    _tile_stored(3, places[3].memory(), places[3].memory_stride());
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    if (i / 2 >= kBlocks || i % 2 >= kPanels) continue;
    if (!places[i].whole()) copy_rows(places[i], false);
  }
}

template <int kPanels>
ONEBEAT_AMX void multiply_blocks(const TileProduct& product) {
  const std::int64_t end = product.first_block + product.blocks;
  std::int64_t block = product.first_block;
  for (; block + 2 <= end; block += 2) multiply<2, kPanels>(product, block);
  if (block < end) multiply<1, kPanels>(product, block);
}

}  // namespace

ONEBEAT_AMX void multiply_tiles(const TileProduct& product) {
  _tile_loadconfig(&kTileConfig);
  if (product.rows > kTile) {
    multiply_blocks<2>(product);
  } else {
    multiply_blocks<1>(product);
  }
  _tile_release();
}

ONEBEAT_AMX void arrange_tokens(ConstMatrix x, const TileActivations& to, std::int64_t block) {
  std::byte* tiles = to.tiles + block * to.block_bytes();
  for (std::int64_t i = 0; i < kTileTokens; ++i) {
    const std::int64_t token = block * kTileTokens + i;
    std::byte* row = tiles + i * 64;
    for (std::int64_t col = 0; col < x.cols; col += kTileColumns, row += kBytesOfTile) {
      __m512 a = _mm512_setzero_ps();
      __m512 b = a;
      if (token < x.rows) {
        const std::int64_t count = std::min(kTileColumns, x.cols - col);
        const auto lanes = static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
        a = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), x.row(token) + col);
        b = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes >> 16), x.row(token) + col + 16);
      }
      const __m512 nearest_a = rounded(a);
      const __m512 nearest_b = rounded(b);
      _mm512_store_si512(row, upper_halves_in_order(nearest_a, nearest_b));
      if (to.parts == 1) continue;
      _mm512_store_si512(row + to.part_bytes(),
                         upper_halves_in_order(rounded(_mm512_sub_ps(a, nearest_a)),
                                               rounded(_mm512_sub_ps(b, nearest_b))));
    }
  }
}

}  // namespace onebeat
#endif  // ONEBEAT_X86
