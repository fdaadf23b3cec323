// SPDX-License-Identifier: Apache-2.0
// decode_attention() with its seams open for tests: in which order workers run, and what happens
// before an arrival.
#pragma once

#include <cstdint>

#include "onebeat/attention.h"

namespace onebeat::cpu {

struct DecodeSeams {
  /// workers_active numbers: which worker runs first, second, ...; null: 0, 1, ...
  const std::uint32_t* order = nullptr;
  /// Called by a thread that has written a partial result, before it arrives at the counter.
  void (*before_arrival)(void* context, std::uint32_t worker) = nullptr;
  void* context = nullptr;
};

[[nodiscard]] Status execute_decode(const PlanView& plan, const AttentionLaunch& launch,
                                    const AttentionScratch& scratch, ThreadPool& pool,
                                    const DecodeSeams& seams);

}  // namespace onebeat::cpu
