// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding.
#pragma once

#include <cstdint>
#include <span>

#include "onebeat/thread_pool.h"
#include "ops/weight.h"

namespace onebeat {

/// Which elements of a head are rotated together.
enum class RopePairs : std::uint8_t {
  kNeighbours,  ///< (2i, 2i + 1): the row order of `llama` files in GGUF.
  kHalves,      ///< (i, i + rotary_dims / 2): Qwen, Gemma, and Hugging Face's own order.
};

/// Pair i of a token at position p is rotated by
/// p * position_scale * freq_base^(-2i / rotary_dims) / freq_factors[i].
struct RopeParams {
  std::int32_t rotary_dims = 0;  ///< Elements of a head that are rotated, even; the rest stays.
  double freq_base = 10000.0;
  double position_scale = 1.0;          ///< 1 / factor of linear scaling.
  std::span<const float> freq_factors;  ///< rotary_dims / 2 divisors, or empty. Borrowed.
  RopePairs pairs = RopePairs::kNeighbours;
};

/// Fills row t of `angles` [tokens, rotary_dims] with the cosines, then the sines of position t:
/// once for each step.
void rope_angles(const RopeParams& params, std::span<const std::int32_t> positions, Matrix angles);

/// Rotates, in place, every head of every row of x [tokens, heads * head_dim].
void apply_rope(const RopeParams& params, ConstMatrix angles, std::int32_t head_dim, Matrix x,
                ThreadPool& pool);

}  // namespace onebeat
