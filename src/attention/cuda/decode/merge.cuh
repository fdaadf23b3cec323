// SPDX-License-Identifier: Apache-2.0
// Results leave a worker here: written to the output where the worker had the whole unit, else to
// scratch, and merged by whichever worker arrives last (contract D7). Nobody ever waits for another
// CTA.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/decode/score_shape.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Where tests delay warps, each at different places, to bring arrivals into any order. Kernels of
/// the product never pause.
struct NoPause {
  __device__ __forceinline__ static void at(std::uint32_t /*place*/) {}
};

inline constexpr float kMinusInfinity = -__builtin_huge_valf();

/// exp2(x - reference) where both may be -inf.
__device__ __forceinline__ float weight_of(float maximum, float reference) {
  return maximum == kMinusInfinity ? 0.0f : ptx::exp2_fast(maximum - reference);
}

/// Running sum of 4 output elements with the maximum they refer to (base-2 units).
struct Accumulator {
  float maximum = kMinusInfinity;
  float sum = 0.0f;
  float4 output = {0.0f, 0.0f, 0.0f, 0.0f};

  __device__ __forceinline__ void rescale(float reference) {
    const float weight = weight_of(maximum, reference);
    maximum = reference;
    sum *= weight;
    output.x *= weight, output.y *= weight, output.z *= weight, output.w *= weight;
  }
  /// Requires: reference at least `other_maximum`, and rescaled to it.
  __device__ __forceinline__ void add(float other_maximum, float other_sum, float4 other) {
    const float weight = weight_of(other_maximum, maximum);
    if (weight == 0.0f) return;  // scratch of an empty part may hold anything
    sum += weight * other_sum;
    output.x += weight * other.x, output.y += weight * other.y;
    output.z += weight * other.z, output.w += weight * other.w;
  }
};

/// Query row `row` of a unit: its token in the request, its head, and its row in q and out.
template <typename Walk>
struct QueryRow {
  std::uint32_t token, head, index;
  __device__ __forceinline__ QueryRow(const DecodeParams& p, const Walk& unit, std::uint32_t row) {
    const std::uint32_t x = unit.query_tile * kQueryTileRows + row;
    token = x / p.heads_per_kv_head;
    head = unit.kv_head * p.heads_per_kv_head + (x - token * p.heads_per_kv_head);
    index = unit.query_begin + token;
  }
};

/// A row all of whose tokens are summed up: where it goes, and what its sums are multiplied by.
template <typename E, typename Walk>
class FinishedRow {
 public:
  __device__ __forceinline__ FinishedRow(const DecodeParams& p, const Walk& unit, std::uint32_t row,
                                         float maximum, float sum)
      : p_(p), unit_(unit), q_(p, unit, row), maximum_(maximum), sum_(sum) {
    float total = sum;
    float weight = 1.0f;
    if (p.sinks != nullptr) {
      const float sink = p.sinks[q_.head] * kLog2e;
      const float reference = fmaxf(maximum, sink);
      weight = weight_of(maximum, reference);
      total = sum * weight + weight_of(sink, reference);
    }
    scale_ = total > 0.0f ? weight / total : 0.0f;
    if constexpr (E::kKvBytes == 1) {
      if (p.v_scales != nullptr) scale_ *= p.v_scales[unit.kv_head];
    }
  }

  /// Writes 4 elements, and the log-sum-exp if `column` is 0.
  __device__ __forceinline__ void write(std::uint32_t column, float4 output) const {
    if (q_.index >= p_.num_query_tokens) return;
    const uint2 packed = {E::pack(output.x * scale_, output.y * scale_),
                          E::pack(output.z * scale_, output.w * scale_)};
    auto* out = static_cast<std::uint16_t*>(p_.out) + q_.index * p_.out_token_stride +
                q_.head * p_.out_head_stride + column;
    *reinterpret_cast<uint2*>(out) = packed;
    if (p_.lse == nullptr || column != 0) return;
    const std::int64_t place = p_.lse_request_stride != 0 ? unit_.request * p_.lse_request_stride +
                                                                q_.token * p_.lse_token_stride
                                                          : q_.index * p_.lse_token_stride;
    const std::int64_t at = place + q_.head * p_.lse_head_stride;
    if (at >= 0 && at < p_.lse_size)
      p_.lse[at] = sum_ > 0.0f ? (maximum_ + ptx::log2_fast(sum_)) * kLn2 : kMinusInfinity;
  }

 private:
  const DecodeParams& p_;
  const Walk& unit_;
  QueryRow<Walk> q_;
  float maximum_, sum_, scale_;
};

/// Writes 4 elements of a finished row, and its log-sum-exp if `column` is 0.
template <typename E, typename Walk>
__device__ __forceinline__ void write_final(const DecodeParams& p, const Walk& unit,
                                            std::uint32_t row, std::uint32_t column,
                                            const Accumulator& a) {
  FinishedRow<E, Walk>(p, unit, row, a.maximum, a.sum).write(column, a.output);
}

/// Scratch of partial results.
template <int D>
struct Scratch {
  const DecodeParams& p;
  __device__ __forceinline__ float4* outputs(std::uint32_t slot, std::uint32_t row,
                                             std::uint32_t column) const {
    const std::uint64_t at = (std::uint64_t{slot} * p.rows_per_slot + row) * D + column;
    return reinterpret_cast<float4*>(p.partial_outputs + at);
  }
  __device__ __forceinline__ float2* stats(std::uint32_t slot, std::uint32_t row) const {
    return reinterpret_cast<float2*>(p.partial_stats) +
           (std::uint64_t{slot} * p.rows_per_slot + row);
  }
  __device__ __forceinline__ void write(std::uint32_t slot, std::uint32_t row, std::uint32_t column,
                                        const Accumulator& a) const {
    __stcg(outputs(slot, row, column), a.output);
    if (column == 0) __stcg(stats(slot, row), make_float2(a.maximum, a.sum));
  }
  [[nodiscard]] __device__ __forceinline__ Accumulator read(std::uint32_t slot, std::uint32_t row,
                                                            std::uint32_t column) const {
    const float2 s = __ldcg(stats(slot, row));
    return {s.x, s.y, __ldcg(outputs(slot, row, column))};
  }
};

/// Slot of partial result `index` of a unit that worker `owner` starts.
__device__ __forceinline__ std::uint32_t slot_of(std::uint32_t owner, std::uint32_t index) {
  return index == 0 ? 2 * owner + 1 : 2 * (owner + index);
}

/// Sums of `count` partial results, in worker order first, first + step, ..., of kItems items, all
/// loads in flight together. An item is 4 elements of a row.
template <int D, int kItems>
__device__ __forceinline__ void merge_items(const Scratch<D>& scratch, std::uint32_t owner,
                                            std::uint32_t first, std::uint32_t step,
                                            std::uint32_t count,
                                            const std::uint32_t (&item)[kItems],
                                            Accumulator (&a)[kItems]) {
  constexpr std::uint32_t kBatch = 8 / kItems;  // of one item, loads in flight
  // Slots of continuing workers lie 2 apart; the starting worker's is the odd one.
  const std::uint32_t even_slot = 2 * (owner + first);
  const std::uint32_t stats_step = 2 * step * scratch.p.rows_per_slot;
  const std::uint32_t outputs_step = stats_step * (D / 4);
  const std::uint32_t odd = first == 0 ? scratch.p.rows_per_slot : 0;
  const float4* outputs[kItems];
  const float2* stats[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    outputs[k] = scratch.outputs(even_slot, item[k] / (D / 4), item[k] % (D / 4) * 4);
    stats[k] = scratch.stats(even_slot, item[k] / (D / 4));
  }
  for (std::uint32_t i0 = 0; i0 < count; i0 += kBatch) {
    float4 output[kItems][kBatch];
    float2 stat[kItems][kBatch];
#pragma unroll
    for (std::uint32_t i = 0; i < kBatch; ++i)
#pragma unroll
      for (int k = 0; k < kItems; ++k) {
        stat[k][i] = make_float2(kMinusInfinity, 0.0f);
        output[k][i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (i0 + i < count) {
          const std::uint32_t shift = i == 0 && i0 == 0 ? odd : 0;
          stat[k][i] = __ldcg(stats[k] + i * stats_step + shift);
          output[k][i] = __ldcg(outputs[k] + i * std::uint64_t{outputs_step} + shift * (D / 4));
        }
      }
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      outputs[k] += kBatch * std::uint64_t{outputs_step};
      stats[k] += kBatch * stats_step;
      float reference = a[k].maximum;
#pragma unroll
      for (std::uint32_t i = 0; i < kBatch; ++i) reference = fmaxf(reference, stat[k][i].x);
      a[k].rescale(reference);
#pragma unroll
      for (std::uint32_t i = 0; i < kBatch; ++i) a[k].add(stat[k][i].x, stat[k][i].y, output[k][i]);
    }
  }
}

/// The first kThreads threads of the CTA: whether this CTA is the last of `count` to arrive at
/// `counter`. `flag` is shared memory.
template <int kThreads>
__device__ __forceinline__ bool arrive_last(std::uint32_t* counter, std::uint32_t count,
                                            std::uint32_t* flag) {
  ptx::barrier_sync<kThreads>();
  if (threadIdx.x == 0) *flag = ptx::arrive_and_wrap(counter, count - 1) == count - 1 ? 1u : 0u;
  ptx::barrier_sync<kThreads>();
  return *flag != 0;
}

/// Members of a group in the first level of a two-level merge: a power of two near the root of
/// `partials`.
__device__ __forceinline__ std::uint32_t merge_group(std::uint32_t partials) {
  return 1u << ((33 - __clz(partials - 1)) / 2);
}

/// The first kThreads threads of the CTA: `members` partial results from `first` on become one, in
/// the place of the first. For rows that are not one warp's: a row's maximum and sum are one
/// element of scratch, so whole rows are merged at a time, and all their threads have read before
/// one of them writes.
template <int D, int kThreads>
__device__ __forceinline__ void merge_members(const Scratch<D>& scratch, std::uint32_t owner,
                                              std::uint32_t first, std::uint32_t members,
                                              std::uint32_t items) {
  constexpr std::uint32_t kRound = kThreads / (D / 4) * (D / 4);
  constexpr int kMost = D > 128 ? 2 : 1;  // items that a thread has loads of in flight
  const std::uint32_t slot = slot_of(owner, first);
  const auto merge_round = [&](auto& a, std::uint32_t base) {
    constexpr int kItems = sizeof(a) / sizeof(a[0]);
    std::uint32_t item[kItems];
    bool live[kItems];
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      item[k] = base + k * kRound + threadIdx.x;
      live[k] = item[k] < items && (kRound == kThreads || threadIdx.x < kRound);
      if (kItems > 1 && !live[k]) item[k] = 0;
    }
    merge_items<D, kItems>(scratch, owner, first, 1, live[0] ? members : 0, item, a);
    ptx::barrier_sync<kThreads>();
#pragma unroll
    for (int k = 0; k < kItems; ++k)
      if (live[k]) scratch.write(slot, item[k] / (D / 4), item[k] % (D / 4) * 4, a[k]);
  };
  for (std::uint32_t base = 0; base < items; base += kMost * kRound) {
    if (kMost == 1 || base + kRound >= items) {
      Accumulator a[1];
      merge_round(a, base);
    } else {
      Accumulator a[kMost];
      merge_round(a, base);
    }
  }
}

/// The first kThreads threads of the CTA, after partial result `index` of `partials` was written:
/// merges what became complete. S: the variant's shape. Counters: 2W of groups, named by the slot
/// of their first member, then W of units, named by their owner.
template <typename S, int kThreads, typename Walk>
__device__ __forceinline__ void arrive_and_merge(const DecodeParams& p, const Walk& unit,
                                                 std::uint32_t workers, std::uint32_t owner,
                                                 std::uint32_t index, std::uint32_t partials,
                                                 std::uint32_t* flag) {
  constexpr int D = S::D;
  using Pause = typename S::Pause;
  Pause::at(2 * slot_of(owner, index));
  const Scratch<D> scratch{p};
  const std::uint32_t items = unit.rows * (D / 4);
  std::uint32_t step = 1;
  std::uint32_t count = partials;
  if (partials > p.flat_merge_limit) {
    step = merge_group(partials);
    count = (partials + step - 1) / step;
    const std::uint32_t first = index / step * step;
    const std::uint32_t members = min(step, partials - first);
    const std::uint32_t slot = slot_of(owner, first);
    if (members > 1) {
      if (!arrive_last<kThreads>(p.counters + slot, members, flag)) return;
      if constexpr (32 % (D / 4) == 0) {
        for (std::uint32_t base = 0; base < items; base += kThreads) {
          const std::uint32_t item[1] = {base + threadIdx.x};
          const std::uint32_t live = item[0] < items ? members : 0;
          Accumulator a[1];
          merge_items<D, 1>(scratch, owner, first, 1, live, item, a);
          __syncwarp();  // all threads of a row, one warp, have read what one of them replaces
          if (live != 0) scratch.write(slot, item[0] / (D / 4), item[0] % (D / 4) * 4, a[0]);
        }
      } else {
        merge_members<D, kThreads>(scratch, owner, first, members, items);
      }
      Pause::at(2 * slot + 1);
    }
  }
  if (!arrive_last<kThreads>(p.counters + 2 * workers + owner, count, flag)) return;
  const auto write = [&](std::uint32_t item, const Accumulator& a) {
    write_final<typename S::Element>(p, unit, item / (D / 4), item % (D / 4) * 4, a);
  };
  for (std::uint32_t base = threadIdx.x; base < items; base += 2 * kThreads) {
    if (base + kThreads < items) {
      const std::uint32_t item[2] = {base, base + kThreads};
      Accumulator a[2];
      merge_items<D, 2>(scratch, owner, 0, step, count, item, a);
      write(item[0], a[0]);
      write(item[1], a[1]);
    } else {
      const std::uint32_t item[1] = {base};
      Accumulator a[1];
      merge_items<D, 1>(scratch, owner, 0, step, count, item, a);
      write(item[0], a[0]);
    }
  }
}

}  // namespace onebeat::cuda
