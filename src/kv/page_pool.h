// SPDX-License-Identifier: Apache-2.0
// PagePool: which pages of the KV cache belong to whom. Accounting only; somebody else owns the
// bytes.
//
// A page has a count of its holders: requests, and later the index of reusable prefixes. A request
// has a row of the page map, whose columns are its pages in the order of its tokens; kernels read
// rows directly, so a row is contiguous and its address never changes. Pages are taken when a step
// needs them and given back when the last step that names them has completed: the caller says when.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// Sizes of a pool.
struct PagePoolShape {
  std::int32_t num_pages = 0;     ///< Pages that there are.
  std::int32_t page_tokens = 16;  ///< P, a power of two.
  std::int32_t num_rows = 0;      ///< Requests that can have pages at once.
  std::int32_t row_pages = 0;     ///< Pages of the longest request.
};

/// Not thread-safe; no call but create() allocates.
class PagePool {
 public:
  /// Errors: kInvalidArgument naming the field.
  [[nodiscard]] static Result<PagePool> create(const PagePoolShape& shape);

  [[nodiscard]] const PagePoolShape& shape() const { return shape_; }
  [[nodiscard]] std::int32_t free_pages() const {
    return static_cast<std::int32_t>(free_pages_.size());
  }
  [[nodiscard]] std::int32_t free_rows() const {
    return static_cast<std::int32_t>(free_rows_.size());
  }

  /// A row without pages. Errors: kResourceExhausted.
  [[nodiscard]] Result<std::int32_t> open_row();
  /// Gives up the row and its hold on its pages; pages that nobody else holds become free.
  /// Requires: an open row.
  void close_row(std::int32_t row);

  /// Makes the row long enough for `tokens` tokens by taking free pages: all of them or, with
  /// kResourceExhausted, none. kOutOfRange if a row cannot have so many. Enough pages already is a
  /// success.
  [[nodiscard]] Status reserve(std::int32_t row, std::int64_t tokens);
  /// Gives up the pages beyond those that `tokens` tokens need: a step that was not done.
  void shrink(std::int32_t row, std::int64_t tokens);

  /// Appends pages that others hold too, such as a prefix that was computed before. Requires: pages
  /// in use, room.
  [[nodiscard]] Status share(std::int32_t row, std::span<const std::int32_t> pages);

  /// Puts a free page in the place of one of the row's, giving up that one. Errors:
  /// kResourceExhausted.
  [[nodiscard]] Status replace(std::int32_t row, std::int32_t column);

  /// One more, or one less, holder of a page in use.
  void hold(std::int32_t page);
  void release(std::int32_t page);
  /// Holders of a page; 0: free. A page may be written only by its single holder.
  [[nodiscard]] std::int32_t holders(std::int32_t page) const {
    return holders_[static_cast<std::size_t>(page)];
  }

  /// The pages of a row.
  [[nodiscard]] std::span<const std::int32_t> pages(std::int32_t row) const;
  /// All rows: num_rows x row_pages numbers, -1 where a row has no page. The address never changes.
  [[nodiscard]] std::span<const std::int32_t> page_map() const { return map_; }

 private:
  PagePool() = default;
  [[nodiscard]] std::int32_t pages_for(std::int64_t tokens) const;
  [[nodiscard]] std::int32_t& entry(std::int32_t row, std::int32_t column);

  PagePoolShape shape_;
  std::vector<std::int32_t> holders_;     // of each page
  std::vector<std::int32_t> free_pages_;  // a stack
  std::vector<std::int32_t> free_rows_;   // a stack
  std::vector<std::int32_t> row_length_;  // pages of each row; -1: closed
  std::vector<std::int32_t> map_;
};

}  // namespace onebeat
