// SPDX-License-Identifier: Apache-2.0
#include "kv/page_pool.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {

Result<PagePool> PagePool::create(const PagePoolShape& shape) {
  const bool power_of_two =
      shape.page_tokens > 0 && (shape.page_tokens & (shape.page_tokens - 1)) == 0;
  if (!power_of_two)
    return invalid_argument("page_tokens is {}; it must be a power of two", shape.page_tokens);
  if (shape.num_pages < 1)
    return invalid_argument("num_pages is {}; it must be at least 1", shape.num_pages);
  if (shape.num_rows < 1)
    return invalid_argument("num_rows is {}; it must be at least 1", shape.num_rows);
  if (shape.row_pages < 1)
    return invalid_argument("row_pages is {}; it must be at least 1", shape.row_pages);

  PagePool pool;
  pool.shape_ = shape;
  pool.holders_.assign(static_cast<std::size_t>(shape.num_pages), 0);
  pool.row_length_.assign(static_cast<std::size_t>(shape.num_rows), -1);
  pool.map_.assign(
      static_cast<std::size_t>(shape.num_rows) * static_cast<std::size_t>(shape.row_pages), -1);
  // From the last to the first, so that pages and rows are handed out in rising order.
  for (std::int32_t page = shape.num_pages; page-- > 0;) pool.free_pages_.push_back(page);
  for (std::int32_t row = shape.num_rows; row-- > 0;) pool.free_rows_.push_back(row);
  return pool;
}

Result<std::int32_t> PagePool::open_row() {
  if (free_rows_.empty())
    return resource_exhausted("all {} rows of the page map are in use", shape_.num_rows);
  const std::int32_t row = free_rows_.back();
  free_rows_.pop_back();
  row_length_[static_cast<std::size_t>(row)] = 0;
  return row;
}

void PagePool::close_row(std::int32_t row) {
  shrink(row, 0);
  row_length_[static_cast<std::size_t>(row)] = -1;
  free_rows_.push_back(row);
}

Status PagePool::reserve(std::int32_t row, std::int64_t tokens) {
  std::int32_t& length = row_length_[static_cast<std::size_t>(row)];
  ONEBEAT_CHECK(length >= 0);
  const std::int64_t most = static_cast<std::int64_t>(shape_.row_pages) * shape_.page_tokens;
  if (tokens > most) return out_of_range("{} tokens; a request can have at most {}", tokens, most);
  const std::int32_t missing = std::max(0, pages_for(tokens) - length);
  if (missing > free_pages()) {
    return resource_exhausted("{} more pages of {} tokens are needed, {} of {} are free", missing,
                              shape_.page_tokens, free_pages(), shape_.num_pages);
  }
  for (std::int32_t i = 0; i < missing; ++i) {
    const std::int32_t page = free_pages_.back();
    free_pages_.pop_back();
    holders_[static_cast<std::size_t>(page)] = 1;
    entry(row, length++) = page;
  }
  return Status();
}

void PagePool::shrink(std::int32_t row, std::int64_t tokens) {
  std::int32_t& length = row_length_[static_cast<std::size_t>(row)];
  ONEBEAT_CHECK(length >= 0);
  while (length > pages_for(tokens)) {
    std::int32_t& page = entry(row, --length);
    release(page);
    page = -1;
  }
}

Status PagePool::share(std::int32_t row, std::span<const std::int32_t> pages) {
  std::int32_t& length = row_length_[static_cast<std::size_t>(row)];
  ONEBEAT_CHECK(length >= 0);
  if (static_cast<std::int64_t>(pages.size()) > shape_.row_pages - length) {
    return out_of_range("{} pages to share; the request has {} of at most {}", pages.size(), length,
                        shape_.row_pages);
  }
  for (const std::int32_t page : pages) {
    hold(page);
    entry(row, length++) = page;
  }
  return Status();
}

Status PagePool::replace(std::int32_t row, std::int32_t column) {
  ONEBEAT_CHECK(column >= 0 && column < row_length_[static_cast<std::size_t>(row)]);
  if (free_pages_.empty()) {
    return resource_exhausted("one more page of {} tokens is needed, none of {} is free",
                              shape_.page_tokens, shape_.num_pages);
  }
  const std::int32_t page = free_pages_.back();
  free_pages_.pop_back();
  holders_[static_cast<std::size_t>(page)] = 1;
  release(entry(row, column));
  entry(row, column) = page;
  return Status();
}

void PagePool::hold(std::int32_t page) {
  ONEBEAT_CHECK(page >= 0 && page < shape_.num_pages && holders(page) > 0);
  ++holders_[static_cast<std::size_t>(page)];
}

void PagePool::release(std::int32_t page) {
  ONEBEAT_CHECK(page >= 0 && page < shape_.num_pages && holders(page) > 0);
  if (--holders_[static_cast<std::size_t>(page)] == 0) free_pages_.push_back(page);
}

std::span<const std::int32_t> PagePool::pages(std::int32_t row) const {
  const std::int32_t length = row_length_[static_cast<std::size_t>(row)];
  ONEBEAT_CHECK(length >= 0);
  return {map_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(shape_.row_pages),
          static_cast<std::size_t>(length)};
}

std::int32_t PagePool::pages_for(std::int64_t tokens) const {
  return static_cast<std::int32_t>((tokens + shape_.page_tokens - 1) / shape_.page_tokens);
}

std::int32_t& PagePool::entry(std::int32_t row, std::int32_t column) {
  return map_[static_cast<std::size_t>(row) * static_cast<std::size_t>(shape_.row_pages) +
              static_cast<std::size_t>(column)];
}

}  // namespace onebeat
