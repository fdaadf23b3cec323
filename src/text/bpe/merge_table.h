// SPDX-License-Identifier: Apache-2.0
// The merges of a byte-level BPE model, and the merging of one word.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/vocabulary.h"

namespace onebeat {

/// Memory that merging reuses from word to word; one per thread at a time.
class MergeScratch {
 private:
  friend class MergeTable;
  struct Symbol {
    std::int32_t id;
    std::uint32_t
        rank;  // Of the merge with the next symbol; kNoRank if there is none or the symbol is gone.
    std::int32_t previous;
    std::int32_t next;
  };
  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> queue_;
};

class MergeTable {
 public:
  /// Resolves "left right" texts, the most urgent first. Of equal pairs the last one counts.
  /// Errors: kInvalidArgument names the merge that is no pair or whose parts or result have no
  /// token.
  static Result<MergeTable> make(const Vocabulary& vocabulary,
                                 std::span<const std::string_view> merges);

  /// Appends the tokens of one word: starting from single bytes, the most urgent merge is made
  /// first, and the leftmost of equals, until none applies. Bytes that have no token of their own
  /// are left out. O(n log n) for n bytes. Requires: word.size() < 2^31.
  void encode(std::string_view word, MergeScratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  static constexpr std::uint32_t kNoRank = 0xffffffffU;
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
