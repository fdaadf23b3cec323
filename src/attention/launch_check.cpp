// SPDX-License-Identifier: Apache-2.0
#include "attention/launch_check.h"

#include <cmath>

#include "base/error.h"
#include "onebeat/attention_cuda.h"

namespace onebeat {
namespace {

Status check_strides(const char* name, std::int32_t dim, std::int32_t alignment, const void* data,
                     std::int64_t pages, std::int64_t page_stride, std::int64_t tokens,
                     std::int64_t token_stride, std::int64_t heads, std::int64_t head_stride) {
  if (data == nullptr) return invalid_argument("{} of the KV pool is null", name);
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) != 0) {
    return invalid_argument("{} of the KV pool is not aligned to its elements of {} bytes", name,
                            alignment);
  }
  const bool apart = (pages <= 1 || page_stride >= dim) && (tokens <= 1 || token_stride >= dim) &&
                     (heads <= 1 || head_stride >= dim);
  if (!apart || page_stride < 0 || token_stride < 0 || head_stride < 0) {
    return invalid_argument(
        "{} of the KV pool has strides {} (page), {} (token), {} (head); rows of {} would overlap",
        name, page_stride, token_stride, head_stride, dim);
  }
  return {};
}

Status check_lse(const LseRows& lse, const LaunchExtent& extent, std::int32_t heads) {
  if (lse.data == nullptr) return {};
  if (lse.request_stride < 0 || lse.token_stride < 0 || lse.head_stride < 0) {
    return invalid_argument("log-sum-exp has a negative stride ({}, {}, {})", lse.request_stride,
                            lse.token_stride, lse.head_stride);
  }
  if (extent.query_tokens == 0) return {};
  std::int64_t last = (heads - 1) * lse.head_stride;
  if (lse.request_stride != 0) {
    last += (extent.requests - 1) * lse.request_stride +
            (extent.max_query_tokens - 1) * lse.token_stride;
  } else {
    last += (extent.query_tokens - 1) * lse.token_stride;
  }
  if (last >= lse.size) {
    return invalid_argument("log-sum-exp has {} floats; its strides reach float {}", lse.size,
                            last);
  }
  return {};
}

Status check_pages(const PageMap& pages, const KvPool& pool, const LaunchExtent& extent) {
  if (pages.num_rows < 0 || pages.num_columns < 0 || pages.row_stride < 0 ||
      (pages.num_rows > 1 && pages.row_stride < pages.num_columns && pages.row_stride != 0)) {
    return invalid_argument("page map of {} x {} has row stride {}", pages.num_rows,
                            pages.num_columns, pages.row_stride);
  }
  if (pages.row_of == nullptr && pages.num_rows < extent.requests) {
    return invalid_argument("page table has {} rows for {} requests", pages.num_rows,
                            extent.requests);
  }
  if (extent.longest == 0) return {};
  if (pages.pages == nullptr || pages.num_rows == 0 || pages.num_columns == 0 ||
      pool.num_pages == 0) {
    return invalid_argument(
        "a request has {} tokens; the pool has {} pages and the page map is {} x {}",
        extent.longest, pool.num_pages, pages.num_rows, pages.num_columns);
  }
  return {};
}

Status check_score(const ScoreOptions& score) {
  if (!std::isfinite(score.scale) || score.scale <= 0.0f) {
    return invalid_argument("attention scale is {}; it must be finite and above 0", score.scale);
  }
  if (!std::isfinite(score.soft_cap) || score.soft_cap < 0.0f) {
    return invalid_argument("attention soft cap is {}; it must be finite and at least 0",
                            score.soft_cap);
  }
  return {};
}

Status check_scale_pointers(const KvPool& pool) {
  for (const float* scales : {pool.k_scales, pool.v_scales}) {
    if (scales == nullptr) continue;
    if (pool.type != KvType::kF8E4M3) {
      return invalid_argument("a KV pool of {}-byte elements has scales; only fp8 e4m3 takes them",
                              size_of(pool.type));
    }
    if (reinterpret_cast<std::uintptr_t>(scales) % alignof(float) != 0) {
      return invalid_argument("scales of the KV pool are not aligned to 4 bytes");
    }
  }
  return {};
}

Status check_scale_values(const char* name, const float* scales, std::int32_t heads) {
  for (std::int32_t head = 0; scales != nullptr && head < heads; ++head) {
    if (std::isfinite(scales[head]) && scales[head] > 0.0f) continue;
    return invalid_argument("scale of {} for KV head {} is {}; it must be finite and above 0", name,
                            head, scales[head]);
  }
  return {};
}

}  // namespace

template <typename T>
Status check_head_rows(const char* name, const HeadRows<T>& rows, std::int64_t tokens,
                       std::int32_t heads, std::int32_t dim) {
  if (rows.num_heads != heads || rows.dim != dim) {
    return plan_mismatch("{} has {} heads of {}; the geometry has {} of {}", name, rows.num_heads,
                         rows.dim, heads, dim);
  }
  if (rows.num_tokens < tokens) {
    return invalid_argument("{} has {} tokens; the step has {}", name, rows.num_tokens, tokens);
  }
  if (tokens == 0) return {};
  if (rows.data == nullptr) return invalid_argument("{} is null", name);
  if ((heads > 1 && rows.head_stride < dim) || (tokens > 1 && rows.token_stride < dim) ||
      rows.head_stride < 0 || rows.token_stride < 0) {
    return invalid_argument("{} has strides {} (token) and {} (head); rows of {} would overlap",
                            name, rows.token_stride, rows.head_stride, dim);
  }
  return {};
}

template Status check_head_rows(const char*, const HeadRows<float>&, std::int64_t, std::int32_t,
                                std::int32_t);
template Status check_head_rows(const char*, const HeadRows<std::uint16_t>&, std::int64_t,
                                std::int32_t, std::int32_t);
template Status check_head_rows(const char*, const HeadRows<const std::uint16_t>&, std::int64_t,
                                std::int32_t, std::int32_t);
template Status check_head_rows(const char*, const HeadRows<const float>&, std::int64_t,
                                std::int32_t, std::int32_t);

Status check_kv_pool(const KvPool& pool) {
  if (pool.num_pages < 0 || pool.num_pages > 0x7fffffff || pool.page_tokens < 1 ||
      (pool.page_tokens & (pool.page_tokens - 1)) != 0) {
    return invalid_argument(
        "KV pool has {} pages of {} tokens; it takes up to 2147483647 of a power of two",
        pool.num_pages, pool.page_tokens);
  }
  if (pool.num_kv_heads < 1 || pool.head_dim < 8 || pool.head_dim_v < 8 || pool.head_dim % 8 != 0 ||
      pool.head_dim_v % 8 != 0) {
    return invalid_argument("KV pool has {} heads of {} and {}; sizes must be multiples of 8",
                            pool.num_kv_heads, pool.head_dim, pool.head_dim_v);
  }
  ONEBEAT_RETURN_IF_ERROR(check_scale_pointers(pool));
  if (pool.num_pages == 0) return {};
  ONEBEAT_RETURN_IF_ERROR(check_strides(
      "K", pool.head_dim, size_of(pool.type), pool.k, pool.num_pages, pool.k_page_stride,
      pool.page_tokens, pool.k_token_stride, pool.num_kv_heads, pool.k_head_stride));
  return check_strides("V", pool.head_dim_v, size_of(pool.type), pool.v, pool.num_pages,
                       pool.v_page_stride, pool.page_tokens, pool.v_token_stride, pool.num_kv_heads,
                       pool.v_head_stride);
}

Status check_host_kv_scales(const KvPool& pool) {
  ONEBEAT_RETURN_IF_ERROR(check_scale_values("K", pool.k_scales, pool.num_kv_heads));
  return check_scale_values("V", pool.v_scales, pool.num_kv_heads);
}

template <typename Launch>
Status check_launch(const AttentionGeometry& geometry, const Launch& launch,
                    const LaunchExtent& extent) {
  const KvPool& pool = launch.kv;
  if (pool.page_tokens != geometry.page_tokens || pool.num_kv_heads != geometry.num_kv_heads ||
      pool.head_dim != geometry.head_dim || pool.head_dim_v != geometry.head_dim_v ||
      pool.type != geometry.kv_type) {
    return plan_mismatch(
        "KV pool has pages of {} tokens, {} heads of {} and {}, element type {}; the geometry has "
        "{}, {} of {} and {}, "
        "type {}",
        pool.page_tokens, pool.num_kv_heads, pool.head_dim, pool.head_dim_v,
        static_cast<int>(pool.type), geometry.page_tokens, geometry.num_kv_heads, geometry.head_dim,
        geometry.head_dim_v, static_cast<int>(geometry.kv_type));
  }
  ONEBEAT_RETURN_IF_ERROR(check_kv_pool(pool));
  ONEBEAT_RETURN_IF_ERROR(check_head_rows("query", launch.q, extent.query_tokens,
                                          geometry.num_heads, geometry.head_dim));
  ONEBEAT_RETURN_IF_ERROR(check_head_rows("output", launch.out, extent.query_tokens,
                                          geometry.num_heads, geometry.head_dim_v));
  ONEBEAT_RETURN_IF_ERROR(check_lse(launch.lse, extent, geometry.num_heads));
  ONEBEAT_RETURN_IF_ERROR(check_pages(launch.pages, pool, extent));
  return check_score(launch.score);
}

template Status check_launch(const AttentionGeometry&, const AttentionLaunch&, const LaunchExtent&);
template Status check_launch(const AttentionGeometry&, const CudaAttentionLaunch&,
                             const LaunchExtent&);

}  // namespace onebeat
