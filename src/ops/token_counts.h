// SPDX-License-Identifier: Apache-2.0
// The tokens that a request holds, for the penalties of sampling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace onebeat {

/// Counts tokens. Its size follows the different tokens of a request, not the vocabulary.
class TokenCounts {
 public:
  struct Entry {
    std::int32_t token = 0;
    std::int32_t generated = 0;  ///< Times in the reply; 0 for a token of the prompt alone.
  };

  /// Forgets all tokens and makes room for `distinct` different ones: up to that many, adding
  /// allocates nothing. Memory that there is already is kept.
  void reset(std::size_t distinct);

  /// Ids are 0 or above.
  void add_prompt(std::span<const std::int32_t> tokens);
  void add_generated(std::int32_t token) { ++entry(token).generated; }

  /// One for each different token, in the order of their first appearance.
  [[nodiscard]] std::span<const Entry> entries() const { return entries_; }

 private:
  [[nodiscard]] Entry& entry(std::int32_t token);
  void rehash(std::size_t distinct);

  std::vector<Entry> entries_;
  std::vector<std::int32_t> slots_;  // Open addressing: index of an entry, or -1.
};

}  // namespace onebeat
