// SPDX-License-Identifier: Apache-2.0
// The kernels of prepare_step. Every block does one thing (a plan, a run of requests, chunks of
// tables) and none waits for another; what two of them need, both compute. Contract P1: every block
// passes the dependency wait before it exits; P2: nothing is read or written before it.
#include "device/dependent_launch.cuh"
#include "device/dependent_launch.h"
#include "step/cuda/plan_block.cuh"
#include "step/cuda/prepare_step.h"
#include "step/cuda/request_block.cuh"
#include "step/cuda/table_block.cuh"

namespace onebeat::cuda {
namespace {

static_assert(kMostDeviceWorkers == kMaxPlanWorkers);

constexpr int kTableThreads = 256;
constexpr int kTableBlocks = 3;  // per multiprocessor

/// Shared memory that a block uses for its one role; plans also use what follows.
union RoleSpace {
  PlanSpace plan;
  NarrowPairSpace requests;
  TableSpace tables;
};

struct StepRead {
  const PrepareParams& p;
  std::uint32_t& faults;
  __device__ step::Request operator()(std::uint32_t b) const {
    return step::read_request(p.source, static_cast<std::int32_t>(b), faults);
  }
};

template <int kItems, bool kOneTile>
__device__ __forceinline__ void prepare_plan(const PrepareParams& p, const PlanTask& task,
                                             PlanSpace& space, std::byte* tile_space) {
  const std::int32_t loaded_active = load_active(p);
  for (std::uint32_t i = threadIdx.x; i < task.counter_words; i += blockDim.x) task.counters[i] = 0;
  if (task.plan == nullptr) return;
  std::uint32_t ignored = 0;  // reported by the request blocks
  plan_class<kItems, kOneTile>(
      task.division, task.plan, StepRead{p, ignored}, static_cast<std::uint32_t>(p.num_requests),
      [&] { return checked_active(p, loaded_active, ignored); }, space, tile_space);
}

__device__ __forceinline__ void prepare_rest(const PrepareParams& p, std::uint32_t block,
                                             RoleSpace& space) {
  const auto request_blocks = static_cast<std::uint32_t>(p.request_blocks);
  if (block < request_blocks) {
    prepare_requests(p, block, space.requests);
  } else {
    prepare_tables(p, block - request_blocks, space.tables);
  }
}

/// Brings the parameters into the constant cache, where a first access misses, before the wait.
__device__ __forceinline__ void load_early(const PrepareParams& p) {
  constexpr unsigned kLine = 64;
  const auto* bytes = reinterpret_cast<const char*>(&p);
#pragma unroll
  for (unsigned at = 0; at < sizeof(RequestWork) + sizeof(TableWork); at += kLine) {
    asm volatile("" ::"r"(*reinterpret_cast<const std::uint32_t*>(bytes + at)));
  }
  const PlanTask& task = p.plans[blockIdx.x % kMaxStepClasses];
  asm volatile("" ::"r"(task.division.workers), "r"(task.counter_words));
}

/// Plans, requests and tables. Blocks have at most 512 threads; the bound of 768 grants 80
/// registers, with which nothing spills and three blocks of 256 share a multiprocessor.
template <int kItems, bool kOneTile>
__global__ void __launch_bounds__(768, 1)
    prepare_with_plans(const __grid_constant__ PrepareParams p) {
  extern __shared__ __align__(16) std::byte shared[];
  auto& space = *reinterpret_cast<RoleSpace*>(shared);
  load_early(p);
  wait_for_predecessors();
  let_dependents_start();
  const auto plans = static_cast<std::uint32_t>(p.num_plans);
  if (blockIdx.x < plans) {
    prepare_plan<kItems, kOneTile>(p, p.plans[blockIdx.x], space.plan, shared + sizeof(RoleSpace));
  } else {
    prepare_rest(p, blockIdx.x - plans, space);
  }
}

/// Requests and tables: fewer registers, so that more blocks copy at a time.
__global__ void __launch_bounds__(kTableThreads, kTableBlocks)
    prepare_tables_only(const __grid_constant__ PrepareParams p) {
  extern __shared__ __align__(16) std::byte shared[];
  load_early(p);
  wait_for_predecessors();
  let_dependents_start();
  prepare_rest(p, blockIdx.x, *reinterpret_cast<RoleSpace*>(shared));
}

std::size_t shared_bytes(std::int32_t block_threads, int items, bool plans) {
  static_assert(sizeof(RoleSpace) % 16 == 0);
  if (!plans) return sizeof(RoleSpace);
  return sizeof(RoleSpace) + tile_bytes(static_cast<std::uint32_t>(block_threads * items));
}

constexpr int kMiddleItems = 4;
constexpr int kLargeItems = 8;

struct Variant {
  void (*kernel)(PrepareParams);
  int items;
};

Variant variant_for(std::int32_t num_requests, std::int32_t threads, bool plans) {
  if (!plans) return {prepare_tables_only, 0};
  if (num_requests <= threads) return {prepare_with_plans<1, true>, 1};
  if (num_requests <= threads * kMiddleItems) {
    return {prepare_with_plans<kMiddleItems, true>, kMiddleItems};
  }
  if (num_requests <= threads * kLargeItems) {
    return {prepare_with_plans<kLargeItems, true>, kLargeItems};
  }
  return {prepare_with_plans<kLargeItems, false>, kLargeItems};
}

}  // namespace

cudaError_t prepare_kernels_setup() {
  const auto most = static_cast<int>(shared_bytes(kMaxPlanThreads, kLargeItems, true));
  constexpr auto kAttribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
  for (const auto kernel :
       {prepare_with_plans<kMiddleItems, true>, prepare_with_plans<kLargeItems, true>,
        prepare_with_plans<kLargeItems, false>}) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, kAttribute, most);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

std::int32_t prepare_block_threads(std::int32_t num_requests, std::int32_t most_workers) {
  if (most_workers == 0) return kTableThreads;
  // A thread for each cut, if it can be; small blocks have cheap barriers. Two blocks a
  // multiprocessor are the usual number of workers: on 132 of them, 265 cuts.
  constexpr std::int32_t kMost = static_cast<std::int32_t>(kMaxPlanThreads);
  if (num_requests > 1024 || most_workers >= 320) return kMost;
  return most_workers < 256 ? 256 : 320;
}

std::int32_t prepare_blocks_per_multiprocessor(std::int32_t block_threads, bool plans) {
  return plans ? 768 / block_threads : kTableBlocks;
}

cudaError_t launch_prepare(const PrepareParams& params, std::int32_t block_threads,
                           bool programmatic, cudaStream_t stream) {
  const bool plans = params.num_plans > 0;
  const Variant variant = variant_for(params.num_requests, block_threads, plans);
  const LaunchSize size = {
      static_cast<unsigned>(params.num_plans + params.request_blocks + params.table_blocks),
      static_cast<unsigned>(block_threads), shared_bytes(block_threads, variant.items, plans)};
  return launch_kernel(variant.kernel, size, programmatic, stream, params);
}

}  // namespace onebeat::cuda
