// SPDX-License-Identifier: Apache-2.0
// The kernels that fill a cache; append_launch.cpp checks and enqueues them.
#pragma once

#include <cstdint>

#include "onebeat/geometry.h"

namespace onebeat::cuda {

inline constexpr int kAppendThreads = 256;  ///< Most of a CTA, which stores one token.

/// K or V of an append. Strides count elements.
struct AppendRows {
  const std::uint16_t* from = nullptr;
  std::int64_t from_token_stride = 0;
  std::int64_t from_head_stride = 0;
  void* to = nullptr;
  std::int64_t page_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
  const float* scales = nullptr;     ///< Of fp8: [G] or null.
  std::uint32_t vectors_a_head = 0;  ///< 16-byte vectors of a head in the cache.
};

/// Trivially copyable; all pointers are device memory.
struct AppendParams {
  AppendRows k, v;
  const std::int32_t* slots = nullptr;
  std::uint32_t num_slots = 0;  ///< Of the pool: pages times P, at most 2^31.
  std::uint32_t num_heads = 0;  ///< G
  std::uint32_t page_shift = 0;
  std::uint32_t page_mask = 0;
  std::uint32_t* status = nullptr;  ///< Fault bits are or-ed into it.
};

/// The kernel that reads `input` (bf16 or fp16) and writes `cache` (those or fp8 e4m3): one CTA for
/// each token, takes one AppendParams. Null: there is none.
[[nodiscard]] const void* append_function(KvType input, KvType cache);

}  // namespace onebeat::cuda
