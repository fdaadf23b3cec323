// SPDX-License-Identifier: Apache-2.0
// The order in which byte pair encoding merges the symbols of a text, whatever says which pairs
// merge.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace onebeat {

/// What two neighbours would become. The smallest rank is the most urgent.
struct MergeOffer {
  static constexpr std::uint32_t kNoRank = 0xffffffffU;
  std::uint32_t rank = kNoRank;  ///< kNoRank: they do not merge.
  std::int32_t result = -1;
};

struct MergeSymbol {
  std::int32_t id = -1;   ///< A token; -1 if the symbol is none.
  MergeOffer offer = {};  ///< With the next symbol; no rank if there is none or the symbol is gone.
  std::int32_t previous = -1;
  std::int32_t next = -1;
};

/// Merges until no neighbours are left that merge: the most urgent first, the leftmost of equals.
/// `symbols` are linked in their order, the first one at 0, and stay in their places: those that
/// remain are found along `next`. `offer(left, right)` gives the MergeOffer for the symbols at two
/// places. O(n log n) for n symbols, fewer than 2^31; `queue` is working memory.
template <typename OfferOf>
void merge_symbols(std::vector<MergeSymbol>& symbols, std::vector<std::uint64_t>& queue,
                   OfferOf&& offer) {
  const auto symbol = [&](std::int32_t at) -> MergeSymbol& {
    return symbols[static_cast<std::size_t>(at)];
  };
  // A queue entry is rank and place in one number: the smallest is the most urgent and then the
  // leftmost. It is out of date, and skipped, when the symbol's rank is no longer the entry's.
  const auto update = [&](std::int32_t at) {
    auto& left = symbol(at);
    left.offer = left.next < 0 ? MergeOffer() : offer(at, left.next);
    return left.offer.rank != MergeOffer::kNoRank;
  };
  const auto entry = [&](std::int32_t at) {
    return std::uint64_t{symbol(at).offer.rank} << 32 | static_cast<std::uint32_t>(at);
  };
  const auto push = [&](std::int32_t at) {
    queue.push_back(entry(at));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };

  queue.clear();
  for (std::int32_t at = 0; at < static_cast<std::int32_t>(symbols.size()); ++at) {
    if (update(at)) queue.push_back(entry(at));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const std::uint64_t top = queue.back();
    queue.pop_back();
    const auto at = static_cast<std::int32_t>(top & 0xffffffffU);
    auto& left = symbol(at);
    if (left.offer.rank != top >> 32) continue;
    auto& right = symbol(left.next);
    left.id = left.offer.result;
    right.offer = MergeOffer();
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = at;
    if (update(at)) push(at);
    if (left.previous >= 0 && update(left.previous)) push(left.previous);
  }
}

}  // namespace onebeat
