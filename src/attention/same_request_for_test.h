// SPDX-License-Identifier: Apache-2.0
// One request in two batches, for tests that its results do not depend on the others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "attention/poisoned_batch_for_test.h"

namespace onebeat {

/// Gives request `to` of batch b the queries and the cache of request `from` of batch a. Both have
/// pages that are contiguous in the pool (KvLayout::kNhd).
inline void copy_request(const PoisonedBatch& a, std::size_t from, PoisonedBatch& b,
                         std::size_t to) {
  const AttentionGeometry& g = a.options.geometry;
  const auto q_row = static_cast<std::size_t>(a.launch.q.token_stride);
  std::copy_n(a.q.begin() + static_cast<std::ptrdiff_t>(
                                static_cast<std::size_t>(a.query_begin[from]) * q_row),
              static_cast<std::size_t>(a.options.query_tokens[from]) * q_row,
              b.q.begin() +
                  static_cast<std::ptrdiff_t>(static_cast<std::size_t>(b.query_begin[to]) * q_row));
  const auto copy_page = [&](const std::vector<std::byte>& source, std::vector<std::byte>& target,
                             std::int64_t stride, std::int64_t source_page,
                             std::int64_t target_page) {
    const auto bytes = static_cast<std::size_t>(stride * size_of(g.kv_type));
    std::copy_n(
        source.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(source_page) * bytes),
        bytes,
        target.begin() +
            static_cast<std::ptrdiff_t>(static_cast<std::size_t>(target_page) * bytes));
  };
  for (std::int64_t page = 0; page * g.page_tokens < a.options.lens[from]; ++page) {
    const auto id = [&](const PoisonedBatch& batch, std::size_t request) -> std::int64_t {
      return batch.page_ids[static_cast<std::size_t>(
          batch.row_of[request] * batch.launch.pages.row_stride + page)];
    };
    if (id(a, from) < 0 || id(a, from) >= a.launch.kv.num_pages) continue;
    copy_page(a.k, b.k, a.launch.kv.k_page_stride, id(a, from), id(b, to));
    copy_page(a.v, b.v, a.launch.kv.v_page_stride, id(a, from), id(b, to));
  }
}

}  // namespace onebeat
