// SPDX-License-Identifier: Apache-2.0
// PageCache: the pages of running requests and, behind them, those of finished ones that a later
// request may begin with. A page that only the prefix index holds counts as available: it is
// evicted, the longest unused first, when no page is free.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kv/page_pool.h"
#include "kv/prefix_index.h"
#include "onebeat/status.h"

namespace onebeat {

/// What is asked of whoever owns the bytes: all tokens of one page become those of another.
struct PageCopy {
  std::int32_t from = 0;
  std::int32_t to = 0;
};

/// Not thread-safe; no call but create() allocates.
class PageCache {
 public:
  /// Without `reuse_prefixes` no page is kept once its requests are gone.
  /// Errors: kInvalidArgument naming the field of the shape.
  [[nodiscard]] static Result<PageCache> create(const PagePoolShape& shape, bool reuse_prefixes);

  [[nodiscard]] const PagePoolShape& shape() const { return pool_.shape(); }
  /// Rows are read here; only the cache changes them.
  [[nodiscard]] const PagePool& pool() const { return pool_; }
  /// Pages that reserve() can give: free or only kept for reuse.
  [[nodiscard]] std::int32_t available_pages() const;
  /// Pages kept for reuse that no request holds.
  [[nodiscard]] std::int32_t unused_pages() const { return index_ ? index_->num_unused() : 0; }

  [[nodiscard]] Result<std::int32_t> open_row() { return pool_.open_row(); }
  /// Gives up the row; its pages stay where the index knows them.
  void close_row(std::int32_t row);

  /// Lets an empty row begin with the pages that hold the longest known prefix of `tokens`; moves
  /// `chain` (the salt is the caller's) to its end. Returns the tokens that the row has now, a
  /// multiple of the page size below tokens.size(): the last token is always left to compute.
  [[nodiscard]] std::int32_t share_prefix(std::int32_t row, std::span<const std::int32_t> tokens,
                                          PrefixChain& chain);
  /// Makes the row long enough for `tokens` tokens, all or nothing. Errors: those of
  /// PagePool::reserve().
  [[nodiscard]] Status reserve(std::int32_t row, std::int64_t tokens);
  /// A new row with the same pages. Errors: kResourceExhausted without a free row.
  [[nodiscard]] Result<std::int32_t> fork_row(std::int32_t row);

  /// Whether the page of token `position` belongs to other holders too, so that the token must not
  /// be written there. False without such a page.
  [[nodiscard]] bool is_shared(std::int32_t row, std::int64_t position) const;
  /// Gives the row a page of its own in place of that shared one; the caller copies the bytes.
  /// Errors: kResourceExhausted; nothing changed then.
  [[nodiscard]] Result<PageCopy> make_own(std::int32_t row, std::int64_t position);

  /// The step that completed page `column` of the row has completed; `tokens` are the page's, and
  /// `chain` is the prefix before it. From here on the page can be found. Moves `chain` behind it.
  /// If another page holds the same already, that one stays the one to be found.
  void publish(std::int32_t row, std::int32_t column, std::span<const std::int32_t> tokens,
               PrefixChain& chain);

  /// Forgets all that is kept for reuse and not in use.
  void drop_unused();

 private:
  explicit PageCache(PagePool pool) : pool_(std::move(pool)) {}
  void make_room(std::int32_t pages);
  void evict(std::int32_t page);

  PagePool pool_;
  std::unique_ptr<PrefixIndex> index_;  // null: nothing is kept
};

}  // namespace onebeat
