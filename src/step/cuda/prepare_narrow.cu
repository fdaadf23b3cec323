// SPDX-License-Identifier: Apache-2.0
// The kernels of prepare_step for the common kind of step (narrow_params.h). As in
// prepare_step.cu every block does one thing and none waits for another; contract P1: every
// block passes the dependency wait before it exits; P2: nothing is written before it.
#include "device/dependent_launch.cuh"
#include "device/dependent_launch.h"
#include "step/cuda/narrow_plan.cuh"
#include "step/cuda/prepare_narrow.h"

namespace onebeat::cuda {
namespace {

// 31 workers a warp: 279 and 496 at most, where two blocks on each of 132 multiprocessors make 264.
constexpr int kSmallThreads = 288;
constexpr int kLargeThreads = 512;

using MiddleRequests = BlockRequests<kLargeThreads, 2>;
using LargeRequests = BlockRequests<kLargeThreads, 8>;

/// Lengths, their sums and the offsets of new tokens. All threads of block `slice` call it.
template <int kThreads, typename Requests>
__device__ __forceinline__ void sum_lens(const NarrowParams& p, std::uint32_t slice,
                                         typename Requests::Space& space) {
  const Requests requests(p, space, [](std::uint32_t len) { return len; });
  const std::uint32_t count = requests.count();
  const RequestOutputs& out = p.work.outputs;
  requests.for_each(slice_of(count, slice, p.slice_shift),
                    [&](std::uint32_t r, std::uint32_t before) {
                      put(out.lens, r, static_cast<std::int32_t>(p.lens.forced(p.lens.stored[r])));
                      put(out.cu_seqlens_k, r, static_cast<std::int32_t>(before));
                      put(out.cu_seqlens_q, r, static_cast<std::int32_t>(r * p.lens.query_tokens));
                    });
  if (slice == 0 && threadIdx.x == kThreads - 1) {
    put(out.cu_seqlens_k, count, static_cast<std::int32_t>(requests.total()));
    put(out.cu_seqlens_q, count, static_cast<std::int32_t>(count * p.lens.query_tokens));
  }
}

/// Page updates, positions and slots of new tokens, a thread for each request.
__device__ __forceinline__ void place_tokens(const NarrowParams& p, std::uint32_t b) {
  const RequestWork& work = p.work;
  std::uint32_t faults = 0;
  const std::int32_t stored_active = load_active(work);
  std::int32_t stored = 0;
  std::int64_t row = 0;
  std::uint32_t own_faults = 0;
  if (b < static_cast<std::uint32_t>(work.num_requests)) {
    stored = p.lens.stored[b];
    if (work.map.data != nullptr) {
      row = step::row_of_request(work.source, static_cast<std::int32_t>(b), own_faults);
    }
  }
  const std::uint32_t active = checked_active(work, stored_active, faults);
  if (b < active) {
    faults |= own_faults;
    const std::uint32_t len = p.lens.forced(stored);
    if (static_cast<std::uint32_t>(stored) + static_cast<std::uint32_t>(p.lens.delta) != len) {
      faults |= step::fault_bit(StepFault::kLength);
    }
    const UpdateRange updates = updates_of(work.updates, b, faults);
    if (updates.begin != updates.end) apply_updates(work, row, updates, faults);
    write_new_tokens(work, {len, p.lens.query_tokens}, row, updates,
                     std::int64_t{b} * p.lens.query_tokens, faults);
  }
  report(work.status, faults);
}

template <int kThreads, typename Requests>
__global__ void __launch_bounds__(kThreads, 1)
    prepare_narrow(const __grid_constant__ NarrowParams p) {
  __shared__ typename Requests::Space space;
  __shared__ PassBits<kThreads> bits;
  const std::uint32_t slices = 1u << p.slice_shift;
  constexpr std::uint32_t kSector = 8;  // lengths
  for (std::uint32_t i = threadIdx.x * kSector; i < static_cast<std::uint32_t>(p.work.num_requests);
       i += kThreads * kSector) {
    prefetch(p.lens.stored + i);
  }
  if (threadIdx.x == 2) prefetch(p.work.num_active);
  // Workers first, they take longest; then requests of plans, sums, tokens.
  if (blockIdx.x < p.num_plans) {
    const NarrowTask& task = p.plans[blockIdx.x];
    if (threadIdx.x == 1) prefetch(task.plan);
    wait_for_predecessors();
    let_dependents_start();
    if (task.plan != nullptr) plan_workers_narrow<kThreads, Requests>(p, task, space, bits);
    return;
  }
  const std::uint32_t role = (blockIdx.x - p.num_plans) >> p.slice_shift;
  const std::uint32_t slice = (blockIdx.x - p.num_plans) & (slices - 1);
  if (role < p.num_plans) {
    const NarrowTask& task = p.plans[role];
    if (threadIdx.x == 3) prefetch(task.counters);
    wait_for_predecessors();
    let_dependents_start();
    zero_counters<kThreads>(task, slice, p.slice_shift);
    if (task.plan != nullptr) plan_requests_narrow<kThreads, Requests>(p, task, slice, space);
  } else if (role == p.num_plans) {
    wait_for_predecessors();
    let_dependents_start();
    sum_lens<kThreads, Requests>(p, slice, space);
  } else {
    const std::uint32_t block = blockIdx.x - p.num_plans - ((p.num_plans + 1) << p.slice_shift);
    if (threadIdx.x == 1) prefetch(p.work.source.rows_of.data);
    wait_for_predecessors();
    let_dependents_start();
    place_tokens(p, block * kThreads + threadIdx.x);
  }
}

struct NarrowKernel {
  void (*kernel)(NarrowParams);
  int threads;
};

}  // namespace

NarrowVariant narrow_variant(std::int32_t num_requests, std::uint32_t workers) {
  if (workers <= kSmallThreads / 32 * 31 && num_requests <= WarpRequests<8>::kMost) {
    return num_requests <= WarpRequests<1>::kMost   ? NarrowVariant::kOneALane
           : num_requests <= WarpRequests<2>::kMost ? NarrowVariant::kTwoALane
           : num_requests <= WarpRequests<4>::kMost ? NarrowVariant::kFourALane
                                                    : NarrowVariant::kEightALane;
  }
  if (workers > kLargeThreads / 32 * 31 || num_requests > LargeRequests::kMost) {
    return NarrowVariant::kNone;
  }
  return num_requests <= MiddleRequests::kMost ? NarrowVariant::kMiddle : NarrowVariant::kLarge;
}

cudaError_t launch_narrow(const NarrowParams& params, NarrowVariant variant, bool programmatic,
                          cudaStream_t stream) {
  constexpr NarrowKernel kKernels[] = {
      {nullptr, 0},
      {prepare_narrow<kSmallThreads, WarpRequests<1>>, kSmallThreads},
      {prepare_narrow<kSmallThreads, WarpRequests<2>>, kSmallThreads},
      {prepare_narrow<kSmallThreads, WarpRequests<4>>, kSmallThreads},
      {prepare_narrow<kSmallThreads, WarpRequests<8>>, kSmallThreads},
      {prepare_narrow<kLargeThreads, MiddleRequests>, kLargeThreads},
      {prepare_narrow<kLargeThreads, LargeRequests>, kLargeThreads}};
  const auto [kernel, threads] = kKernels[static_cast<int>(variant)];
  const int token_blocks = max(1, (params.work.num_requests + threads - 1) / threads);
  const LaunchSize size = {params.num_plans + ((params.num_plans + 1) << params.slice_shift) +
                               static_cast<unsigned>(token_blocks),
                           static_cast<unsigned>(threads)};
  return launch_kernel(kernel, size, programmatic, stream, params);
}

}  // namespace onebeat::cuda
