// SPDX-License-Identifier: Apache-2.0
#include "ops/token_counts.h"

#include <algorithm>
#include <bit>

namespace onebeat {

void TokenCounts::reset(std::size_t distinct) {
  entries_.clear();
  entries_.reserve(distinct);
  rehash(distinct);
}

void TokenCounts::add_prompt(std::span<const std::int32_t> tokens) {
  for (const std::int32_t token : tokens) static_cast<void>(entry(token));
}

TokenCounts::Entry& TokenCounts::entry(std::int32_t token) {
  if ((entries_.size() + 1) * 2 > slots_.size()) rehash(entries_.size() * 2 + 8);
  const std::size_t mask = slots_.size() - 1;
  std::size_t place = static_cast<std::uint32_t>(token) * 0x9e3779b97f4a7c15U >> 32 & mask;
  for (; slots_[place] >= 0; place = (place + 1) & mask) {
    Entry& known = entries_[static_cast<std::size_t>(slots_[place])];
    if (known.token == token) return known;
  }
  slots_[place] = static_cast<std::int32_t>(entries_.size());
  return entries_.emplace_back(Entry{token, 0});
}

void TokenCounts::rehash(std::size_t distinct) {
  slots_.assign(std::bit_ceil(std::max<std::size_t>(2 * distinct, 16)), -1);
  const std::vector<Entry> known(entries_);
  entries_.clear();
  for (const Entry& old : known) entry(old.token) = old;
}

}  // namespace onebeat
