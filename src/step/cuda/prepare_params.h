// SPDX-License-Identifier: Apache-2.0
// The one argument of the prepare kernels, and how many blocks do what. Trivially copyable; all
// pointers are device memory.
#pragma once

#include <cstdint>

#include "plan/division.h"
#include "step/step_request.h"

namespace onebeat::cuda {

/// One class's plan and what is reset with it.
struct PlanTask {
  plan::Division division;
  std::byte* plan = nullptr;          ///< Null: only the counters.
  std::uint32_t* counters = nullptr;  ///< Arrival counters; null: none.
  std::uint32_t counter_words = 0;
};

/// Lengths, sums, positions and slots.
struct RequestOutputs {
  IntArray lens;
  IntArray cu_seqlens_q;
  IntArray cu_seqlens_k;
  IntArray positions;
  IntArray slots;
  IntArray window_slots;
};

/// Page tables. A chunk is what one block gathers at a time.
struct TableWork {
  IntTable pages;
  IntTable window_pages;
  std::int64_t dense_columns = 0;  ///< Columns of every row; -1: the live pages of each row.
  std::int32_t chunk_columns = 0;
  std::int32_t chunks_per_row = 0;  ///< Dense and direct only.
  /// Live tables small enough for a block for every chunk that there may be; those behind a row's
  /// own end exit. Nobody sums chunks then.
  bool direct = false;
  bool vectors =
      false;  ///< Map and tables allow 16-byte accesses, entries are adjacent and narrow.
};

/// What requests read and write besides plans and tables.
struct RequestWork {
  step::RequestSource source;
  const std::int32_t* num_active = nullptr;  ///< Null: num_requests.
  std::int32_t num_requests = 0;

  step::PageMapView map;
  std::int64_t map_columns = 0;
  step::WindowMapView window;
  std::int64_t slots_end = 0;  ///< Slots of new tokens must be below.
  std::int32_t page_shift = 0;
  PageUpdates updates;

  RequestOutputs outputs;
  std::uint32_t* status = nullptr;
};

struct TableParams : RequestWork {
  TableWork tables;
};

struct PrepareParams : TableParams {
  std::int32_t num_plans = 0;
  PlanTask plans[kMaxStepClasses];

  // Blocks [0, num_plans) plan, the next request_blocks do requests, all others tables.
  std::int32_t request_blocks = 0;
  std::int32_t table_blocks = 0;
};

}  // namespace onebeat::cuda
