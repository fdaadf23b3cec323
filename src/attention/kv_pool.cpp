// SPDX-License-Identifier: Apache-2.0
#include "onebeat/attention.h"

namespace onebeat {

KvPool make_kv_pool(const AttentionGeometry& geometry, KvLayout layout, std::int64_t num_pages,
                    void* k, void* v) {
  KvPool pool;
  pool.k = k;
  pool.v = v;
  pool.type = geometry.kv_type;
  pool.num_pages = num_pages;
  pool.page_tokens = geometry.page_tokens;
  pool.num_kv_heads = geometry.num_kv_heads;
  pool.head_dim = geometry.head_dim;
  pool.head_dim_v = geometry.head_dim_v;
  const std::int64_t tokens = geometry.page_tokens;
  const auto set = [&](std::int64_t dim, std::int64_t& page, std::int64_t& token,
                       std::int64_t& head) {
    if (layout == KvLayout::kRuns) {
      token = dim;
      page = tokens * dim;
      head = num_pages * tokens * dim;
    } else {
      head = dim;
      token = geometry.num_kv_heads * dim;
      page = tokens * geometry.num_kv_heads * dim;
    }
  };
  set(geometry.head_dim, pool.k_page_stride, pool.k_token_stride, pool.k_head_stride);
  set(geometry.head_dim_v, pool.v_page_stride, pool.v_token_stride, pool.v_head_stride);
  return pool;
}

}  // namespace onebeat
