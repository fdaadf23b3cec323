// SPDX-License-Identifier: Apache-2.0
// The merges of a BPE model, and the merging of one word of a byte-level one.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/bpe/merge_loop.h"
#include "text/vocabulary.h"

namespace onebeat {

/// Memory that merging reuses from word to word; one per thread at a time.
class MergeScratch {
 private:
  friend class MergeTable;
  std::vector<MergeSymbol> symbols_;
  std::vector<std::uint64_t> queue_;
};

class MergeTable {
 public:
  /// Resolves "left right" texts, the most urgent first, written as the vocabulary's tokens were.
  /// Of equal pairs the last one counts; what would make a control token counts for nothing.
  /// Errors: kInvalidArgument names the merge that is no pair or whose parts or result have no
  /// token.
  static Result<MergeTable> make(const Vocabulary& vocabulary,
                                 std::span<const std::string_view> merges);

  /// What two tokens become; an id of -1 merges with nothing.
  [[nodiscard]] MergeOffer offer(std::int32_t left, std::int32_t right) const {
    const Merge& merge = find(left, right);
    return {merge.rank, merge.result};
  }

  /// Appends the tokens of one word: starting from single bytes, the most urgent merge is made
  /// first, and the leftmost of equals, until none applies. Bytes that have no token of their own
  /// are left out. O(n log n) for n bytes. Requires: word.size() < 2^31.
  void encode(std::string_view word, MergeScratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  static constexpr std::uint32_t kNoRank = MergeOffer::kNoRank;
  struct Merge {
    std::uint64_t pair = 0;  // left id, right id
    std::uint32_t rank = kNoRank;
    std::int32_t result = -1;
  };

  [[nodiscard]] const Merge& find(std::int32_t left, std::int32_t right) const;
  void insert(const Merge& merge);
  void encode_short(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::array<std::int32_t, 256> byte_tokens_{};  // -1 for bytes without a token
  std::vector<Merge> slots_;
  std::size_t mask_ = 0;
};

}  // namespace onebeat
