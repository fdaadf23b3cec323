// SPDX-License-Identifier: Apache-2.0
#include "kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace onebeat {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

PrefixIndex::PrefixIndex(std::int32_t num_pages, std::int32_t page_tokens, std::uint64_t hash_key)
    : page_tokens_(static_cast<std::size_t>(page_tokens)), hash_key_(hash_key) {
  const auto pages = static_cast<std::size_t>(num_pages);
  entries_.resize(pages);
  tokens_.resize(pages * page_tokens_);
  buckets_.assign(std::bit_ceil(pages), -1);
  unused_next_.assign(pages + 1, -1);
  unused_previous_.assign(pages + 1, -1);
}

std::span<const std::int32_t> PrefixIndex::tokens_of(std::int32_t page) const {
  return {tokens_.data() + static_cast<std::size_t>(page) * page_tokens_, page_tokens_};
}

std::size_t PrefixIndex::bucket_of(const PrefixChain& chain,
                                   std::span<const std::int32_t> tokens) const {
  std::uint64_t hash = mix(mix(hash_key_ ^ chain.salt) + chain.serial);
  for (const std::int32_t token : tokens)
    hash = mix(hash * 0x9e3779b97f4a7c15ull + static_cast<std::uint32_t>(token));
  return static_cast<std::size_t>(hash) & (buckets_.size() - 1);
}

std::int32_t PrefixIndex::find(const PrefixChain& chain,
                               std::span<const std::int32_t> tokens) const {
  ONEBEAT_DCHECK(tokens.size() == page_tokens_);
  std::int32_t page = buckets_[bucket_of(chain, tokens)];
  while (page >= 0) {
    const Entry& found = entry(page);
    if (found.before.serial == chain.serial && found.before.salt == chain.salt &&
        std::equal(tokens.begin(), tokens.end(), tokens_of(page).begin()))
      return page;
    page = found.next;
  }
  return -1;
}

PrefixChain PrefixIndex::after(const PrefixChain& chain, std::int32_t page) const {
  ONEBEAT_CHECK(contains(page));
  return {chain.salt, entry(page).serial};
}

void PrefixIndex::insert(std::int32_t page, const PrefixChain& chain,
                         std::span<const std::int32_t> tokens) {
  ONEBEAT_CHECK(!contains(page) && tokens.size() == page_tokens_);
  std::copy(tokens.begin(), tokens.end(),
            tokens_.begin() +
                static_cast<std::ptrdiff_t>(page) * static_cast<std::ptrdiff_t>(page_tokens_));
  std::int32_t& bucket = buckets_[bucket_of(chain, tokens)];
  entries_[static_cast<std::size_t>(page)] = {++last_serial_, chain, bucket};
  bucket = page;
}

void PrefixIndex::erase(std::int32_t page) {
  ONEBEAT_CHECK(contains(page));
  Entry& gone = entries_[static_cast<std::size_t>(page)];
  std::int32_t* link = &buckets_[bucket_of(gone.before, tokens_of(page))];
  while (*link != page) link = &entries_[static_cast<std::size_t>(*link)].next;
  *link = gone.next;
  gone = {};
}

void PrefixIndex::put_unused(std::int32_t page) {
  const auto at = static_cast<std::size_t>(page);
  const std::size_t head = unused_next_.size() - 1;
  ONEBEAT_CHECK(contains(page) && unused_next_[at] < 0);
  const auto none = static_cast<std::int32_t>(head);
  const std::int32_t latest = num_unused_ == 0 ? none : unused_previous_[head];
  unused_next_[at] = none;
  unused_previous_[at] = latest;
  unused_next_[static_cast<std::size_t>(latest)] = page;
  unused_previous_[head] = page;
  ++num_unused_;
}

void PrefixIndex::take_unused(std::int32_t page) {
  const auto at = static_cast<std::size_t>(page);
  const std::size_t head = unused_next_.size() - 1;
  ONEBEAT_CHECK(unused_next_[at] >= 0);
  unused_next_[static_cast<std::size_t>(unused_previous_[at])] = unused_next_[at];
  unused_previous_[static_cast<std::size_t>(unused_next_[at])] = unused_previous_[at];
  unused_next_[at] = unused_previous_[at] = -1;
  if (--num_unused_ == 0) unused_next_[head] = unused_previous_[head] = -1;
}

}  // namespace onebeat
