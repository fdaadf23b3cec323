// SPDX-License-Identifier: Apache-2.0
// What a test's step needs beside prepare_step and attention: the append of new tokens, the advance
// of device-owned lengths, and a neighbour that delays CTAs at random. All take part in chains of
// dependent launches as the product's kernels do: they wait before they touch anything.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "onebeat/attention.h"

namespace onebeat::gpu_test {

/// New K and V of one layer, bf16 [tokens, G, D], go where prepare_step's slots say.
struct Append {
  const std::uint16_t* k = nullptr;
  const std::uint16_t* v = nullptr;
  const std::int32_t* slots = nullptr;
  const std::int32_t* query_begin = nullptr;  ///< cu_seqlens_q; [num_active] is the token count.
  const std::int32_t* num_active = nullptr;
  std::int32_t most_requests = 0;
  KvPool pool;
};
[[nodiscard]] cudaError_t launch_append(const Append& append, std::int32_t most_tokens,
                                        bool programmatic, cudaStream_t stream);

/// lens[rows_of[b]] = out_lens[b] for every active request that has a row.
struct Advance {
  std::int32_t* lens = nullptr;
  const std::int32_t* rows_of = nullptr;
  const std::int32_t* out_lens = nullptr;
  const std::int32_t* num_active = nullptr;
  std::int32_t most_requests = 0;
  std::int32_t num_rows = 0;
};
[[nodiscard]] cudaError_t launch_advance(const Advance& advance, bool programmatic,
                                         cudaStream_t stream);

/// Blocks that each occupy half a multiprocessor's threads for a random time up to `most_us`.
[[nodiscard]] cudaError_t launch_noise(std::uint32_t seed, int blocks, int most_us,
                                       cudaStream_t stream);

}  // namespace onebeat::gpu_test
