// SPDX-License-Identifier: Apache-2.0
// How many tokens the KV cache holds: what was asked for, if the memory is there.
#pragma once

#include <cstdint>

#include "onebeat/engine.h"

namespace onebeat {

/// What decides the size of a cache.
struct CacheDemand {
  std::int64_t context_tokens = 0;
  std::int32_t max_requests = 1;
  std::optional<std::int64_t> cache_tokens;  ///< As EngineOptions has it.
  std::int32_t page_tokens = 1;
  std::int64_t bytes_per_token = 1;
  std::int64_t memory_bytes = 0;  ///< That the cache may fill.
};

/// Pages of the cache. Errors: kOutOfRange (fewer tokens than one context, more pages than can be
/// numbered); kResourceExhausted naming the bytes and the context that would fit.
[[nodiscard]] Result<std::int32_t> choose_cache_pages(const CacheDemand& demand);

}  // namespace onebeat
