// SPDX-License-Identifier: Apache-2.0
// PrefixIndex: which pages hold which tokens, so that a prompt that begins like an earlier one
// finds the earlier one's pages. Accounting only.
//
// An entry is a full page: its tokens, and the entry that it continues. Entries have serial numbers
// that are never used twice, and an entry names the one before it by its serial: a lookup walks a
// chain of exact comparisons, so that nothing but the same tokens in the same places, under the
// same salt, is ever found. The hash only chooses a bucket.
//
// Pages that nobody but the index holds are in a list from the longest unused to the latest: the
// ones to evict.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onebeat {

/// A prefix of whole pages: where a lookup has come to.
struct PrefixChain {
  std::uint64_t salt = 0;    ///< Prefixes under different salts never meet.
  std::uint64_t serial = 0;  ///< The entry of the last page; 0: the empty prefix.
};

/// Not thread-safe; no call but the constructor allocates.
class PrefixIndex {
 public:
  /// `hash_key` makes the buckets of tokens unpredictable for those who choose the tokens.
  PrefixIndex(std::int32_t num_pages, std::int32_t page_tokens, std::uint64_t hash_key);

  /// The page that continues `chain` with `tokens` (page_tokens of them), or -1.
  [[nodiscard]] std::int32_t find(const PrefixChain& chain,
                                  std::span<const std::int32_t> tokens) const;
  /// `chain` with the page of an entry after it.
  [[nodiscard]] PrefixChain after(const PrefixChain& chain, std::int32_t page) const;
  [[nodiscard]] bool contains(std::int32_t page) const { return entry(page).serial != 0; }

  /// Makes a page an entry. Requires: the page is none, and find(chain, tokens) finds nothing.
  void insert(std::int32_t page, const PrefixChain& chain, std::span<const std::int32_t> tokens);
  /// Forgets an entry; what continues it is never found again.
  void erase(std::int32_t page);

  /// An entry's page was given up by its last request: it is the latest of the unused.
  void put_unused(std::int32_t page);
  /// An unused page is in use again.
  void take_unused(std::int32_t page);
  [[nodiscard]] std::int32_t num_unused() const { return num_unused_; }
  /// The page unused for longest, or -1.
  [[nodiscard]] std::int32_t longest_unused() const { return unused_next_.back(); }

 private:
  struct Entry {
    std::uint64_t serial = 0;  // 0: the page is no entry
    PrefixChain before;
    std::int32_t next = -1;  // in its bucket
  };
  [[nodiscard]] const Entry& entry(std::int32_t page) const {
    return entries_[static_cast<std::size_t>(page)];
  }
  [[nodiscard]] std::span<const std::int32_t> tokens_of(std::int32_t page) const;
  [[nodiscard]] std::size_t bucket_of(const PrefixChain& chain,
                                      std::span<const std::int32_t> tokens) const;

  std::size_t page_tokens_;
  std::uint64_t hash_key_;
  std::uint64_t last_serial_ = 0;
  std::vector<Entry> entries_;         // of each page
  std::vector<std::int32_t> tokens_;   // of each page
  std::vector<std::int32_t> buckets_;  // first page, or -1
  // A ring of unused pages; the last element is its head: next is the longest unused, previous the
  // latest.
  std::vector<std::int32_t> unused_next_, unused_previous_;
  std::int32_t num_unused_ = 0;
};

}  // namespace onebeat
