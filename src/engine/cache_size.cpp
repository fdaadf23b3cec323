// SPDX-License-Identifier: Apache-2.0
#include "engine/cache_size.h"

#include <algorithm>

#include "base/error.h"

namespace onebeat {
namespace {

double in_gb(std::int64_t bytes) {
  return static_cast<double>(bytes) * 1e-9;
}

}  // namespace

Result<std::int32_t> choose_cache_pages(const CacheDemand& demand) {
  const auto pages_for = [&](std::int64_t tokens) {
    return (tokens + demand.page_tokens - 1) / demand.page_tokens;
  };
  const std::int64_t page_bytes = demand.bytes_per_token * demand.page_tokens;
  const std::int64_t context_pages = pages_for(demand.context_tokens);
  const std::int64_t fitting = std::max<std::int64_t>(0, demand.memory_bytes / page_bytes);
  if (context_pages > fitting) {
    return resource_exhausted(
        "a context of {} tokens needs {:.2f} GB of KV cache and {:.2f} GB of memory are available; "
        "a context of {} tokens would fit",
        demand.context_tokens, in_gb(context_pages * page_bytes), in_gb(demand.memory_bytes),
        fitting * demand.page_tokens);
  }
  // So that the slot of every token is a number of 32 bits.
  const std::int64_t numbered = INT32_MAX / demand.page_tokens;
  if (!demand.cache_tokens.has_value()) {
    const std::int64_t wanted = context_pages * demand.max_requests;
    return static_cast<std::int32_t>(
        std::clamp(std::min(wanted, fitting / 2), context_pages, numbered));
  }
  const std::int64_t asked = *demand.cache_tokens;
  if (asked < demand.context_tokens) {
    return out_of_range("the KV cache has {} tokens; it takes at least one context of {}", asked,
                        demand.context_tokens);
  }
  if (asked > numbered * demand.page_tokens) {
    return out_of_range("the KV cache has {} tokens; at most {} can be numbered", asked,
                        numbered * demand.page_tokens);
  }
  if (pages_for(asked) > fitting) {
    return resource_exhausted(
        "a KV cache of {} tokens needs {:.2f} GB and {:.2f} GB of memory are available; {} tokens "
        "would fit",
        asked, in_gb(pages_for(asked) * page_bytes), in_gb(demand.memory_bytes),
        fitting * demand.page_tokens);
  }
  return static_cast<std::int32_t>(pages_for(asked));
}

}  // namespace onebeat
