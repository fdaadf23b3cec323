// SPDX-License-Identifier: Apache-2.0
// A thread takes 32 rows of weights, expands as many of their columns as fit its caches, and
// multiplies them with all tokens (or with some, where there are few rows for the threads).
#include "ops/cpu/tile/linear_tiles.h"

#include <algorithm>

#include "base/error.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/tile/tile_product.h"

namespace onebeat {

#if ONEBEAT_X86
namespace {

/// Rows of weights that are expanded together.
constexpr std::int64_t kRows = 2 * 16;
/// Tiles of columns that are expanded together: of 32 rows 48 KiB, most of a first-level cache.
constexpr std::int64_t kMostColumns = 24;
/// Blocks of tokens below which a thread's work is not divided: the weights would be expanded more
/// than once for too little.
constexpr std::int64_t kFewestBlocks = 8;
/// Pieces of work for each thread, so that none waits long for the others.
constexpr std::int64_t kItemsPerThread = 3;

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

std::int64_t groups_of_rows(const LinearPart& part) {
  return divide_up(part.weight.rows, kRows);
}

/// The rows of `part` that begin at `row`, for some blocks of tokens.
void compute(const LinearPart& part, std::int64_t row, const TileActivations& x,
             std::int64_t first_block, std::int64_t blocks, std::byte* room) {
  const WeightView& weight = part.weight;
  const std::int64_t tiles = tiles_of_columns(weight.cols);
  const std::int64_t columns = divide_up(tiles, divide_up(tiles, kMostColumns));
  TileProduct product;
  product.x = &x;
  product.first_block = first_block;
  product.blocks = blocks;
  product.weights = room;
  product.rows = std::min(kRows, weight.rows - row);
  product.weight_parts = parts_of_weight(weight.type);
  product.x_parts = parts_of_activation(weight.type);
  product.out = part.out.data + row;
  product.out_stride = part.out.stride;
  for (std::int64_t first = 0; first < tiles; first += columns) {
    product.first_column = first;
    product.columns = std::min(columns, tiles - first);
    const std::int64_t bytes = product.weight_parts * product.columns * kBytesOfTile;
    for (std::int64_t r = 0; r < product.rows; r += kRows / 2) {
      expand_tiles(weight, row + r, first, product.columns, room + r / (kRows / 2) * bytes);
    }
    product.add = part.add || first > 0;
    multiply_tiles(product);
  }
  const std::int64_t token = first_block * kTileTokens;
  const std::int64_t end = std::min(x.tokens, token + blocks * kTileTokens);
  add_bias(part, {token, end}, {row, row + product.rows});
}

}  // namespace

bool takes_tiles(std::span<const LinearPart> parts, const LinearOptions& options) {
  if (!options.tiles || options.isa != CpuIsa::kAmx || options.mode != ComputeMode::kAuto) {
    return false;
  }
  return std::all_of(parts.begin(), parts.end(), [](const LinearPart& part) {
    const bool quantised = block_elements(part.weight.type) > 1;
    return !quantised || part.weight.layout == WeightLayout::kPanels;
  });
}

Status linear_with_tiles(ConstMatrix x, std::span<const LinearPart> parts, ThreadPool& pool) {
  TileActivations tiles;
  tiles.tokens = x.rows;
  tiles.cols = x.cols;
  std::int64_t weight_parts = 1;
  std::int64_t groups = 0;
  for (const LinearPart& part : parts) {
    tiles.parts = std::max(tiles.parts, parts_of_activation(part.weight.type));
    weight_parts = std::max<std::int64_t>(weight_parts, parts_of_weight(part.weight.type));
    groups += groups_of_rows(part);
  }
  // Working memory: thread 0 keeps the activations for all, and everybody some expanded weights.
  const std::int64_t room = 2 * weight_parts * kMostColumns * kBytesOfTile;
  for (int thread = 0; thread < pool.threads(); ++thread) {
    const std::int64_t bytes = room + (thread == 0 ? tiles.bytes() : 0);
    std::byte* memory = pool.workspace(thread, static_cast<std::size_t>(bytes)).data();
    if (memory == nullptr) {
      return resource_exhausted("no memory for {} bytes of working space of a matrix product",
                                bytes);
    }
    if (thread == 0) tiles.tiles = memory + room;
  }
  pool.parallel_for(tiles.blocks(), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t block = begin; block < end; ++block) arrange_tokens(x, tiles, block);
  });

  const std::int64_t wanted = divide_up(kItemsPerThread * pool.threads(), groups);
  const std::int64_t most = std::max<std::int64_t>(1, tiles.blocks() / kFewestBlocks);
  const std::int64_t ranges = pool.threads() == 1 ? 1 : std::min(wanted, most);
  const std::int64_t blocks = divide_up(divide_up(tiles.blocks(), ranges), 2) * 2;
  pool.parallel_for(groups * ranges, 1, [&](std::int64_t item, std::int64_t, int thread) {
    const std::int64_t first = item % ranges * blocks;
    std::int64_t group = item / ranges;
    if (first >= tiles.blocks()) return;
    const LinearPart* part = parts.data();
    while (group >= groups_of_rows(*part)) group -= groups_of_rows(*(part++));
    std::byte* expanded = pool.workspace(thread, static_cast<std::size_t>(room)).data();
    compute(*part, group * kRows, tiles, first, std::min(blocks, tiles.blocks() - first), expanded);
  });
  return Status();
}

#else

bool takes_tiles(std::span<const LinearPart>, const LinearOptions&) {
  return false;
}
Status linear_with_tiles(ConstMatrix, std::span<const LinearPart>, ThreadPool&) {
  return internal_error("this processor has no tiles");
}

#endif  // ONEBEAT_X86

}  // namespace onebeat
