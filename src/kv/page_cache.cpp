// SPDX-License-Identifier: Apache-2.0
#include "kv/page_cache.h"

#include <random>

#include "base/check.h"

namespace onebeat {

Result<PageCache> PageCache::create(const PagePoolShape& shape, bool reuse_prefixes) {
  ONEBEAT_ASSIGN_OR_RETURN(PagePool pool, PagePool::create(shape));
  PageCache cache(std::move(pool));
  if (reuse_prefixes) {
    std::random_device random;
    const std::uint64_t key = (std::uint64_t{random()} << 32) | random();
    cache.index_ = std::make_unique<PrefixIndex>(shape.num_pages, shape.page_tokens, key);
  }
  return cache;
}

std::int32_t PageCache::available_pages() const {
  return pool_.free_pages() + unused_pages();
}

void PageCache::close_row(std::int32_t row) {
  if (index_) {
    // The last page first: of a prefix nobody uses, the end is evicted before what it continues.
    const std::span<const std::int32_t> pages = pool_.pages(row);
    for (std::size_t i = pages.size(); i-- > 0;) {
      // The index and this row are the only holders.
      if (index_->contains(pages[i]) && pool_.holders(pages[i]) == 2) index_->put_unused(pages[i]);
    }
  }
  pool_.close_row(row);
}

std::int32_t PageCache::share_prefix(std::int32_t row, std::span<const std::int32_t> tokens,
                                     PrefixChain& chain) {
  ONEBEAT_CHECK(pool_.pages(row).empty());
  if (!index_) return 0;
  const auto page_tokens = static_cast<std::size_t>(shape().page_tokens);
  std::size_t at = 0;
  while (at + page_tokens < tokens.size()) {
    const std::int32_t page = index_->find(chain, tokens.subspan(at, page_tokens));
    if (page < 0) break;
    const bool unused = pool_.holders(page) == 1;  // only the index holds it
    if (!pool_.share(row, {&page, 1}).ok()) break;
    if (unused) index_->take_unused(page);
    chain = index_->after(chain, page);
    at += page_tokens;
  }
  return static_cast<std::int32_t>(at);
}

void PageCache::evict(std::int32_t page) {
  index_->take_unused(page);
  index_->erase(page);
  pool_.release(page);
}

void PageCache::make_room(std::int32_t pages) {
  while (pool_.free_pages() < pages && unused_pages() > 0) evict(index_->longest_unused());
}

Status PageCache::reserve(std::int32_t row, std::int64_t tokens) {
  const std::int64_t page_tokens = shape().page_tokens;
  const std::int64_t missing =
      (tokens + page_tokens - 1) / page_tokens - static_cast<std::int64_t>(pool_.pages(row).size());
  // Nothing is evicted for what cannot be had anyway.
  if (missing > 0 && missing <= available_pages() && tokens <= shape().row_pages * page_tokens)
    make_room(static_cast<std::int32_t>(missing));
  return pool_.reserve(row, tokens);
}

Result<std::int32_t> PageCache::fork_row(std::int32_t row) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t fork, pool_.open_row());
  ONEBEAT_RETURN_IF_ERROR(pool_.share(fork, pool_.pages(row)));
  return fork;
}

bool PageCache::is_shared(std::int32_t row, std::int64_t position) const {
  const std::span<const std::int32_t> pages = pool_.pages(row);
  const auto column = static_cast<std::size_t>(position / shape().page_tokens);
  return column < pages.size() && pool_.holders(pages[column]) > 1;
}

Result<PageCopy> PageCache::make_own(std::int32_t row, std::int64_t position) {
  ONEBEAT_CHECK(is_shared(row, position));
  if (available_pages() > 0) make_room(1);
  const auto column = static_cast<std::int32_t>(position / shape().page_tokens);
  const std::int32_t from = pool_.pages(row)[static_cast<std::size_t>(column)];
  ONEBEAT_RETURN_IF_ERROR(pool_.replace(row, column));
  return PageCopy{from, pool_.pages(row)[static_cast<std::size_t>(column)]};
}

void PageCache::publish(std::int32_t row, std::int32_t column, std::span<const std::int32_t> tokens,
                        PrefixChain& chain) {
  if (!index_) return;
  std::int32_t page = index_->find(chain, tokens);
  if (page < 0) {
    page = pool_.pages(row)[static_cast<std::size_t>(column)];
    // An entry that is not found where it belongs continues one that was evicted.
    if (index_->contains(page)) {
      index_->erase(page);
    } else {
      pool_.hold(page);
    }
    index_->insert(page, chain, tokens);
  }
  chain = index_->after(chain, page);
}

void PageCache::drop_unused() {
  while (unused_pages() > 0) evict(index_->longest_unused());
}

}  // namespace onebeat
