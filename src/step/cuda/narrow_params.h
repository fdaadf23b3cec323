// SPDX-License-Identifier: Apache-2.0
// The argument of the narrow prepare kernels (prepare_narrow.cu): steps of the common kind,
// contiguous 32-bit lengths, the same query tokens for all, no page tables, costs in 32 bits.
// Trivially copyable; all pointers are device memory.
#pragma once

#include <cstdint>

#include "plan/narrow_division.h"
#include "step/cuda/prepare_params.h"

namespace onebeat::cuda {

/// Lengths as stored, and how they are forced into their range.
struct NarrowLens {
  const std::int32_t* stored = nullptr;
  std::int32_t lowest = 0;   ///< Of what is stored.
  std::int32_t highest = 0;  ///< Of what is stored.
  std::int32_t delta = 0;    ///< Added to it.
  std::uint32_t query_tokens = 1;
  std::uint32_t least = 1;  ///< What a length from 1 to query_tokens - 1 becomes.

  ONEBEAT_HD constexpr std::uint32_t forced(std::int32_t value) const {
    value = value < lowest ? lowest : value;
    value = value > highest ? highest : value;
    const auto len = static_cast<std::uint32_t>(value + delta);
    return len - 1 < query_tokens - 1 ? least : len;
  }
};

/// One class's plan and what is reset with it.
struct NarrowTask {
  plan::NarrowDivision division;
  std::byte* plan = nullptr;  ///< Null: only the counters.
  std::uint32_t* counters = nullptr;
  std::uint32_t counter_words = 0;
  PlanHeader header;  ///< Without what the step decides.
};

struct NarrowParams {
  NarrowLens lens;
  RequestWork work;
  // Blocks [0, num_plans << slice_shift) plan, the next 1 << slice_shift sum lengths, all others
  // place new tokens.
  std::uint32_t num_plans = 0;
  std::uint32_t slice_shift = 0;
  NarrowTask plans[kMaxStepClasses];
};

}  // namespace onebeat::cuda
