// SPDX-License-Identifier: Apache-2.0
// Refusals that every twin of attention shares (contract G2): tensors against the geometry.
#pragma once

#include <cstdint>

#include "onebeat/attention.h"

namespace onebeat {

/// What a launch is about to touch.
struct LaunchExtent {
  std::int64_t requests = 0;
  std::int64_t query_tokens = 0;      ///< Rows of q and out.
  std::int64_t max_query_tokens = 0;  ///< Largest T, for lse by request.
  std::int64_t longest = 0;           ///< Largest number of KV tokens.
};

/// Of AttentionLaunch and CudaAttentionLaunch.
template <typename Launch>
[[nodiscard]] Status check_launch(const AttentionGeometry& geometry, const Launch& launch,
                                  const LaunchExtent& extent);

/// The part of it that concerns the cache alone; values of scales are not read.
[[nodiscard]] Status check_kv_pool(const KvPool& pool);

/// Values of the scales of a pool in host memory. Requires: check_kv_pool().
[[nodiscard]] Status check_host_kv_scales(const KvPool& pool);

template <typename T>
[[nodiscard]] Status check_head_rows(const char* name, const HeadRows<T>& rows, std::int64_t tokens,
                                     std::int32_t heads, std::int32_t dim);

}  // namespace onebeat
