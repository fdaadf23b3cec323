// SPDX-License-Identifier: Apache-2.0
// The fixed binary tree over chunk indices of batch-invariant mode (contract D9), as pure integer
// arithmetic that host and device share.
//
// Node i of level L covers chunks [i << L, (i + 1) << L), absolute, so a request's tree does not
// depend on where it begins. A request has the chunks of a range [begin, end); a node with chunks
// on one side only has that side's value. The value of the request, the same for every division of
// the work, is the value of the least node that covers it.
//
// Whoever holds a *run* of consecutive chunks reduces it to whole nodes, those whose chunks (as far
// as the request has them) lie in the run, and no two of which make a larger such node. A node is
// named by its first chunk. All that is needed then is one question, tree_merges(): do two
// neighbours merge before the chunk `next` comes?
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace onebeat {

/// Consecutive chunks [begin, end).
struct ChunkRange {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  friend constexpr bool operator==(const ChunkRange&, const ChunkRange&) = default;
};

/// Number of bits of x: 0 for 0, else 1 + the position of its highest set bit.
ONEBEAT_HD constexpr std::uint32_t bit_width_of(std::uint32_t x) {
#ifdef __CUDA_ARCH__
  return 32 - static_cast<std::uint32_t>(__clz(static_cast<int>(x)));
#else
  std::uint32_t width = 0;
  for (std::uint32_t step = 16; step != 0; step >>= 1) {
    if ((x >> step) != 0) {
      x >>= step;
      width += step;
    }
  }
  return width + x;
#endif
}

/// Number of set bits of x.
ONEBEAT_HD constexpr std::uint32_t bit_count_of(std::uint32_t x) {
#ifdef __CUDA_ARCH__
  return static_cast<std::uint32_t>(__popc(x));
#else
  std::uint32_t count = 0;
  for (; x != 0; x &= x - 1) ++count;
  return count;
#endif
}

/// Level of the least node that covers chunks a and b, a < b.
ONEBEAT_HD constexpr std::uint32_t tree_level(std::uint32_t a, std::uint32_t b) {
  return bit_width_of(a ^ b);
}

/// One past the last chunk of the request in the node of this level that covers `chunk`.
ONEBEAT_HD constexpr std::uint32_t tree_node_end(std::uint32_t chunk, std::uint32_t level,
                                                 ChunkRange request) {
  const std::uint64_t end = ((static_cast<std::uint64_t>(chunk) >> level) + 1) << level;
  return end < request.end ? static_cast<std::uint32_t>(end) : request.end;
}

/// First chunk of the request in the node of this level that covers `chunk`.
ONEBEAT_HD constexpr std::uint32_t tree_node_begin(std::uint32_t chunk, std::uint32_t level,
                                                   ChunkRange request) {
  const std::uint64_t begin = (static_cast<std::uint64_t>(chunk) >> level) << level;
  return begin > request.begin ? static_cast<std::uint32_t>(begin) : request.begin;
}

/// Of a run reduced from left to right: whether its last two nodes, which begin at `left` and
/// `right`, merge now that all chunks before `next` are in. `run_begin` is the run's first chunk;
/// with next = request.end a run that ends the request is finished.
ONEBEAT_HD constexpr bool tree_merges(std::uint32_t left, std::uint32_t right, std::uint32_t next,
                                      std::uint32_t run_begin, ChunkRange request) {
  const std::uint32_t level = tree_level(left, right);
  return tree_node_end(right, level, request) <= next &&
         tree_node_begin(left, level, request) >= run_begin;
}

/// One past the last chunk of the whole node that begins at `chunk`, a place where a node of `run`
/// begins. Walking from run.begin by this gives the run's nodes.
ONEBEAT_HD constexpr std::uint32_t tree_node_of_run(std::uint32_t chunk, ChunkRange run,
                                                    ChunkRange request) {
  // The highest level of which a node begins here, and the highest of which one ends in the run.
  const bool begins_all = chunk == request.begin;
  const bool ends_all = run.end == request.end;
  if (begins_all && ends_all) return request.end;
  const std::uint32_t lowest_bit = chunk & (0u - chunk);
  std::uint32_t level = begins_all ? 31 : bit_width_of(lowest_bit) - 1;
  const std::uint32_t last = bit_width_of(chunk ^ run.end) - 1;
  if (!ends_all && last < level) level = last;
  return tree_node_end(chunk, level, request);
}

/// Number of the nodes of `run`, a part of `request`.
ONEBEAT_HD constexpr std::uint32_t tree_nodes_of_run(ChunkRange run, ChunkRange request) {
  if (run.begin >= run.end) return 0;
  const bool begins_all = run.begin == request.begin;
  if (run.end == request.end) {
    if (begins_all || run.begin + 1 == run.end) return 1;
    // Nodes grow up to the middle of the least node that covers the run; there one begins that has
    // all the rest. Unless the run begins where that node does.
    const std::uint32_t level = tree_level(run.begin, run.end - 1) - 1;
    const std::uint32_t middle = ((run.end - 1) >> level) << level;
    const std::uint32_t growing = middle - run.begin;
    return growing == 1u << level ? 1 : bit_count_of(growing) + 1;
  }
  // Nodes grow up to the middle, and shrink behind it.
  const std::uint32_t level = tree_level(run.begin, run.end) - 1;
  const std::uint32_t middle = (run.end >> level) << level;
  const std::uint32_t growing = begins_all ? 1 : bit_count_of(middle - run.begin);
  return growing + bit_count_of(run.end - middle);
}

/// Most nodes of a run that begins or ends its request but is not all of it, when no request has
/// more than `max_chunks` chunks below its length. A run in the middle has at most twice as many.
/// At least 1.
ONEBEAT_HD constexpr std::int32_t tree_nodes_per_slot(std::uint32_t max_chunks) {
  return max_chunks <= 2 ? 1 : static_cast<std::int32_t>(bit_width_of(max_chunks - 1));
}

}  // namespace onebeat
