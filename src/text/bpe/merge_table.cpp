// SPDX-License-Identifier: Apache-2.0
// Two ways to merge, with the same result. Short words, nearly all, scan a small array for the most
// urgent merge; long ones keep the possible merges in a heap, so that one word of a megabyte stays
// cheap.
#include "text/bpe/merge_table.h"

#include <algorithm>
#include <bit>
#include <string>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::size_t kShortWord = 48;

constexpr std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

constexpr std::size_t hash_pair(std::uint64_t pair) {
  const std::uint64_t hash = pair * 0x9e3779b97f4a7c15U;
  return static_cast<std::size_t>(hash ^ hash >> 32);
}

}  // namespace

const MergeTable::Merge& MergeTable::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  for (std::size_t i = hash_pair(pair) & mask_;; i = (i + 1) & mask_) {
    // An empty slot answers too: it has no rank.
    if (slots_[i].pair == pair || slots_[i].rank == kNoRank) return slots_[i];
  }
}

void MergeTable::insert(const Merge& merge) {
  for (std::size_t i = hash_pair(merge.pair) & mask_;; i = (i + 1) & mask_) {
    if (slots_[i].pair == merge.pair || slots_[i].rank == kNoRank) {
      slots_[i] = merge;
      return;
    }
  }
}

Result<MergeTable> MergeTable::make(const Vocabulary& vocabulary,
                                    std::span<const std::string_view> merges) {
  if (merges.size() >= kNoRank) return invalid_argument("{} merges are too many", merges.size());
  MergeTable table;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    table.byte_tokens_[byte] = vocabulary.find({&c, 1});
  }
  table.slots_.resize(std::bit_ceil(merges.size() * 2 + 1));
  table.mask_ = table.slots_.size() - 1;
  std::string bytes;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return invalid_argument("merge {} is not two texts with a space between", rank);
    }
    bytes.clear();
    const bool left_spelled = vocabulary.append_bytes(merge.substr(0, space), bytes);
    const std::size_t middle = bytes.size();
    const bool right_spelled = vocabulary.append_bytes(merge.substr(space + 1), bytes);
    const std::string_view whole = bytes;
    const std::int32_t left = left_spelled ? vocabulary.find(whole.substr(0, middle)) : -1;
    const std::int32_t right = right_spelled ? vocabulary.find(whole.substr(middle)) : -1;
    const std::int32_t result = vocabulary.find(whole);
    if (left < 0 || right < 0 || result < 0) {
      if (vocabulary.is_control_text(whole) ||
          vocabulary.is_control_text(whole.substr(0, middle)) ||
          vocabulary.is_control_text(whole.substr(middle))) {
        continue;
      }
      return invalid_argument("merge {}: its {} is not in the vocabulary", rank,
                              left < 0    ? "left part"
                              : right < 0 ? "right part"
                                          : "result");
    }
    table.insert({pair_of(left, right), static_cast<std::uint32_t>(rank), result});
  }
  return table;
}

void MergeTable::encode(std::string_view word, MergeScratch& scratch,
                        std::vector<std::int32_t>& ids) const {
  if (word.size() <= kShortWord) return encode_short(word, ids);
  ONEBEAT_CHECK(word.size() < std::size_t{1} << 31);

  auto& symbols = scratch.symbols_;
  symbols.clear();
  for (const char c : word) {
    const std::int32_t id = byte_tokens_[static_cast<unsigned char>(c)];
    const auto at = static_cast<std::int32_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, {}, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  const auto id_at = [&](std::int32_t at) { return symbols[static_cast<std::size_t>(at)].id; };
  merge_symbols(symbols, scratch.queue_, [&](std::int32_t left, std::int32_t right) {
    return offer(id_at(left), id_at(right));
  });
  for (std::int32_t at = 0; at >= 0; at = symbols[static_cast<std::size_t>(at)].next) {
    ids.push_back(id_at(at));
  }
}

void MergeTable::encode_short(std::string_view word, std::vector<std::int32_t>& ids) const {
  std::array<std::int32_t, kShortWord>
      id;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  std::array<std::uint32_t, kShortWord> rank;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  std::size_t count = 0;
  for (const char c : word) {
    const std::int32_t token = byte_tokens_[static_cast<unsigned char>(c)];
    if (token >= 0) id[count++] = token;
  }
  if (count == 0) return;
  for (std::size_t i = 0; i + 1 < count; ++i) rank[i] = find(id[i], id[i + 1]).rank;
  while (count > 1) {
    const auto begin = rank.begin();
    const auto best = std::min_element(begin, begin + static_cast<std::ptrdiff_t>(count - 1));
    if (*best == kNoRank) break;
    const auto i = static_cast<std::size_t>(best - begin);
    id[i] = find(id[i], id[i + 1]).result;
    --count;
    for (std::size_t j = i + 1; j < count; ++j) id[j] = id[j + 1];
    for (std::size_t j = i + 1; j + 1 < count; ++j) rank[j] = rank[j + 1];
    if (i + 1 < count) rank[i] = find(id[i], id[i + 1]).rank;
    if (i > 0) rank[i - 1] = find(id[i - 1], id[i]).rank;
  }
  ids.insert(ids.end(), id.begin(), id.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace onebeat
