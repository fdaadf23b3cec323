// SPDX-License-Identifier: Apache-2.0
// From tokens of a request to places in the pool: the only code that reads page tables, and so the
// only place where contract B3 (clamp and report) is kept.
#pragma once

#include <bit>
#include <cstdint>

#include "onebeat/attention.h"

namespace onebeat::cpu {

class PageWalk {
 public:
  PageWalk(const KvPool& pool, const PageMap& map)
      : pool_(pool),
        map_(map),
        shift_(std::countr_zero(static_cast<std::uint32_t>(pool.page_tokens))) {}

  /// Writes the element offsets of K and V of tokens [begin, end) of one KV head; returns
  /// AttentionFault bits. Requires a page map with at least one row and column, and a pool with at
  /// least one page.
  std::uint32_t resolve(std::uint32_t request, std::uint32_t kv_head, std::uint32_t begin,
                        std::uint32_t end, std::int64_t* k_offsets, std::int64_t* v_offsets) const {
    std::uint32_t faults = 0;
    std::uint32_t row =
        map_.row_of != nullptr ? static_cast<std::uint32_t>(map_.row_of[request]) : request;
    row = clamp(row, map_.num_rows, kFaultPageRow, faults);
    const std::int32_t* pages = map_.pages + row * map_.row_stride;
    const std::int64_t k_head = kv_head * pool_.k_head_stride;
    const std::int64_t v_head = kv_head * pool_.v_head_stride;
    const std::uint32_t mask = (1u << shift_) - 1;
    std::uint32_t token = begin;
    while (token < end) {
      const std::uint32_t column = clamp(token >> shift_, map_.num_columns, kFaultPageRow, faults);
      const std::uint32_t page =
          clamp(static_cast<std::uint32_t>(pages[column]), pool_.num_pages, kFaultPageId, faults);
      const std::uint32_t page_end = (token | mask) + 1;
      const std::uint32_t stop = page_end < end ? page_end : end;
      std::int64_t k = page * pool_.k_page_stride + (token & mask) * pool_.k_token_stride + k_head;
      std::int64_t v = page * pool_.v_page_stride + (token & mask) * pool_.v_token_stride + v_head;
      for (; token < stop; ++token) {
        *k_offsets++ = k;
        *v_offsets++ = v;
        k += pool_.k_token_stride;
        v += pool_.v_token_stride;
      }
    }
    return faults;
  }

 private:
  static std::uint32_t clamp(std::uint32_t value, std::int64_t count, std::uint32_t fault,
                             std::uint32_t& faults) {
    const auto last = static_cast<std::uint32_t>(count - 1);
    if (value <= last) return value;
    faults |= fault;
    return last;
  }

  KvPool pool_;
  PageMap map_;
  int shift_;
};

}  // namespace onebeat::cpu
