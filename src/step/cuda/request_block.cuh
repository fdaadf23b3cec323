// SPDX-License-Identifier: Apache-2.0
// Lengths, sums, page updates and new tokens of one block's requests, a thread for each. What lies
// before them is summed anew by every block, so no block waits for another.
#pragma once

#include <cstdint>

#include "device/block_scan.cuh"
#include "step/cuda/prepare_params.h"

namespace onebeat::cuda {

__device__ __forceinline__ void report(std::uint32_t* status, std::uint32_t faults) {
  if (faults != 0 && status != nullptr) atomicOr(status, faults);
}

/// num_active as it is in memory. Loaded before, checked after the loads that do not need it.
__device__ __forceinline__ std::int32_t load_active(const RequestWork& p) {
  return p.num_active == nullptr ? p.num_requests : *p.num_active;
}

__device__ __forceinline__ std::uint32_t checked_active(const RequestWork& p, std::int32_t loaded,
                                                        std::uint32_t& faults) {
  if (loaded < 0 || loaded > p.num_requests) faults |= step::fault_bit(StepFault::kActive);
  return static_cast<std::uint32_t>(min(max(loaded, 0), p.num_requests));
}

/// Changes of one request's row that stay inside the list, whatever `begin` holds.
struct UpdateRange {
  const PageUpdate* begin = nullptr;
  const PageUpdate* end = nullptr;
};

__device__ __forceinline__ UpdateRange updates_of(const PageUpdates& updates, std::uint32_t request,
                                                  std::uint32_t& faults) {
  if (updates.begin == nullptr) return {};
  const std::int64_t first = updates.begin[request];
  const std::int64_t last = updates.begin[request + 1];
  if (first < 0 || first > last || last > updates.num_entries) {
    faults |= step::fault_bit(StepFault::kUpdate);
    return {};
  }
  return {updates.entries + first, updates.entries + last};
}

__device__ __forceinline__ void put(const IntArray& array, std::int64_t index, std::int32_t value) {
  if (array.data != nullptr) array.data[index * array.stride] = value;
}

/// As put(), for places that only the device knows.
__device__ __forceinline__ void put_checked(const IntArray& array, std::int64_t index,
                                            std::int32_t value, std::uint32_t& faults) {
  if (array.data == nullptr) return;
  if (index >= array.size) {
    faults |= step::fault_bit(StepFault::kRoom);
    return;
  }
  array.data[index * array.stride] = value;
}

__device__ __forceinline__ void apply_updates(const RequestWork& p, std::int64_t row,
                                              const UpdateRange& updates, std::uint32_t& faults) {
  std::int32_t* entries = p.updates.page_rows + row * p.map.row_stride;
  for (const PageUpdate* update = updates.begin; update != updates.end; ++update) {
    if (update->column < 0 || update->column >= p.map_columns) {
      faults |= step::fault_bit(StepFault::kUpdate);
      continue;
    }
    entries[update->column * p.map.column_stride] = update->page;
  }
}

__device__ __forceinline__ void write_new_tokens(const RequestWork& p, const step::Request& own,
                                                 std::int64_t row, const UpdateRange& updates,
                                                 std::int64_t first_index, std::uint32_t& faults) {
  const RequestOutputs& out = p.outputs;
  const bool slots = out.slots.data != nullptr || out.window_slots.data != nullptr;
  const auto len = static_cast<std::int32_t>(own.len);
  const auto tokens = static_cast<std::int32_t>(own.query_tokens);
  for (std::int32_t t = 0; t < tokens; ++t) {
    const std::int32_t position = step::new_token_position(len, tokens, t);
    put_checked(out.positions, first_index + t, position, faults);
    if (!slots) continue;
    std::int64_t slot = step::kNoSlot;
    std::int64_t window_slot = step::kNoSlot;
    if (len > 0) {
      slot = step::slot_of_token(p.map, row, position, p.page_shift, updates.begin, updates.end);
      if (slot < 0 || slot >= p.slots_end) {
        faults |= step::fault_bit(StepFault::kSlot);
        slot = step::kNoSlot;
      } else if (out.window_slots.data != nullptr) {
        window_slot = step::window_slot_or_none(p.window, slot);
        if (window_slot < 0) faults |= step::fault_bit(StepFault::kSlot);
      }
    }
    put_checked(out.slots, first_index + t, static_cast<std::int32_t>(slot), faults);
    put_checked(out.window_slots, first_index + t, static_cast<std::int32_t>(window_slot), faults);
  }
}

/// Block `block` of the request blocks. All its threads call it.
__device__ __forceinline__ void prepare_requests(const RequestWork& p, std::uint32_t block,
                                                 NarrowPairSpace& space) {
  const RequestOutputs& out = p.outputs;
  const std::uint32_t first = block * blockDim.x;
  const std::uint32_t b = first + threadIdx.x;
  std::uint32_t faults = 0;
  const std::int32_t loaded_active = load_active(p);
  // Uniform steps need no sum of query tokens.
  const bool uneven = p.source.query_tokens.data != nullptr;
  const bool sums = out.cu_seqlens_k.data != nullptr || uneven;

  step::Request own;
  std::int64_t row = 0;
  std::uint32_t own_faults = 0;
  if (b < static_cast<std::uint32_t>(p.num_requests)) {
    own = step::read_request(p.source, static_cast<std::int32_t>(b), own_faults);
    if (p.map.data != nullptr) {
      row = step::row_of_request(p.source, static_cast<std::int32_t>(b), own_faults);
    }
  }
  const std::uint32_t active = checked_active(p, loaded_active, faults);
  UpdateRange updates;
  if (b < active) {
    faults |= own_faults;
    updates = updates_of(p.updates, b, faults);
  } else {
    own = {};
  }
  std::uint32_t keys = 0;
  std::uint32_t queries = b * static_cast<std::uint32_t>(p.source.query_tokens_each);
  if (sums) {
    NarrowPair before;
    std::uint32_t ignored = 0;  // reported by the block that owns the request
    for (std::uint32_t i = threadIdx.x; i < first && i < active; i += blockDim.x) {
      const step::Request earlier =
          step::read_request(p.source, static_cast<std::int32_t>(i), ignored);
      before.first += earlier.len;
      before.second += earlier.query_tokens;
    }
    NarrowPair earlier_total;
    if (first > 0) {
      block_exclusive_pair(before, earlier_total, space);
      __syncthreads();
    }
    NarrowPair total;
    const NarrowPair begin = block_exclusive_pair({own.len, own.query_tokens}, total, space);
    keys = earlier_total.first + begin.first;
    if (uneven) queries = earlier_total.second + begin.second;
  }

  if (b < active) {
    put(out.lens, b, static_cast<std::int32_t>(own.len));
    put(out.cu_seqlens_k, b, static_cast<std::int32_t>(keys));
    put(out.cu_seqlens_q, b, static_cast<std::int32_t>(queries));
    if (b + 1 == active) {
      put(out.cu_seqlens_k, active, static_cast<std::int32_t>(keys + own.len));
      put(out.cu_seqlens_q, active, static_cast<std::int32_t>(queries + own.query_tokens));
    }
    if (updates.begin != updates.end) apply_updates(p, row, updates, faults);
    write_new_tokens(p, own, row, updates, queries, faults);
  } else if (active == 0 && b == 0) {
    put(out.cu_seqlens_k, 0, 0);
    put(out.cu_seqlens_q, 0, 0);
  }
  report(p.status, faults);
}

}  // namespace onebeat::cuda
