// SPDX-License-Identifier: Apache-2.0
// Products for few rows on tensor cores with x held in registers.
//
// A CTA owns a group's rows of the weight and a run of K of at most kSteps * 512. Of each step of
// 512, a warp has 64 inputs: it holds them of all rows of x in registers, loads its part of the
// weight's rows, 16 at a time, into a ring of its own, and multiplies without waiting for anyone
// until the 16 rows are done. So shared memory holds nothing but weights that are on their way, x
// is read once, and behind the wait for earlier kernels a full ring is multiplied in one go.
#pragma once

#include "device/dependent_launch.cuh"
#include "ops/cuda/few_rows_merge.cuh"

namespace onebeat::cuda::few_rows {

inline constexpr int kHeldThreads = 256;
inline constexpr int kHeldWarps = kHeldThreads / 32;
inline constexpr int kHeldStepInputs = kHeldWarps * 64;
inline constexpr int kHeldTileRows = 16;
inline constexpr int kHeldStages = 6;
inline constexpr int kHeldStageBytes = kHeldTileRows * 128;
inline constexpr int kHeldRingBytes = kHeldWarps * kHeldStages * kHeldStageBytes;

template <int kColumnTiles, int kSteps>
class HeldProduct {
 public:
  static constexpr int kColumns = kColumnTiles * 8;
  static constexpr int kBuffers = kColumnTiles <= 2 ? 2 : 1;
  static constexpr int kBufferFloats = kHeldWarps * kColumns * kHeldTileRows;
  static constexpr int kSharedBytes = kHeldRingBytes + kBuffers * kBufferFloats * 4;
  static constexpr int kPartialFloats = kColumns * kHeldTileRows + kColumns;
  static_assert(kColumns * 8 <= kHeldThreads);

  __device__ __forceinline__ HeldProduct(const FewRowsParams& p, unsigned char* shared)
      : p_(p),
        sums_of_warps_(reinterpret_cast<float*>(shared + kHeldRingBytes)),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ & 31),
        warp_(thread_ >> 5) {
    const auto block = static_cast<std::int32_t>(blockIdx.x);
    const auto groups = static_cast<std::int32_t>(gridDim.x) / p.splits;
    group_ = block / p.splits;
    split_ = block - group_ * p.splits;
    range_ = group_rows(p.outputs, group_, groups);
    tiles_ = (range_.count + kHeldTileRows - 1) / kHeldTileRows;
    tiles_of_groups_ = tiles_of_group(p.outputs, groups, kHeldTileRows);
    const std::int32_t steps = (p.inputs + kHeldStepInputs - 1) / kHeldStepInputs;
    const std::int32_t first = steps * split_ / p.splits;
    steps_ = steps * (split_ + 1) / p.splits - first;
    begin_ = first * kHeldStepInputs + warp_ * 64;
    end_ = min((first + steps_) * kHeldStepInputs, p.inputs);
    total_ = tiles_ * steps_;
    ring_ =
        shared_address(shared) + static_cast<std::uint32_t>(warp_ * kHeldStages * kHeldStageBytes);
    policy_ = evict_first_policy();
    next_ = p.weight + (range_.begin + lane_ / 8) * p.weight_stride + begin_ + lane_ % 8 * 8;
  }

  __device__ __forceinline__ void run() {
    const std::int32_t trigger_at = max(total_ - p_.trigger, 0);
#pragma unroll
    for (int i = 0; i < kHeldStages; ++i) {
      if (i < total_) load_weights(i);
      copy_async_commit();
    }
    bool triggered = trigger_at < kHeldStages;
    if (triggered) let_dependents_start();
    wait_for_predecessors();
    load_x();
    const float scale = p_.norm_epsilon < 0 ? 1.0f : share_squares();
    std::int32_t slot = 0, ahead = kHeldStages;
    for (std::int32_t tile = 0; tile < tiles_; ++tile) {
#pragma unroll
      for (auto& column : sums_) {
#pragma unroll
        for (float& sum : column) sum = 0.0f;
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        if (step >= steps_) continue;
        copy_async_wait<kHeldStages - 1>();
        __syncwarp();
        multiply(slot, step);
        __syncwarp();
        if (ahead < total_) load_weights(slot);
        copy_async_commit();
        if (!triggered && ahead >= trigger_at) {
          triggered = true;
          let_dependents_start();
        }
        ++ahead;
        slot = slot + 1 == kHeldStages ? 0 : slot + 1;
      }
      finish_tile(tile, scale);
    }
    if (p_.splits > 1 && tiles_ > 0) merge();
  }

 private:
  /// Which 16-byte segment of a row of a stage holds `segment`: reads of 8 lanes (2 rows of 4
  /// segments) and writes (a row) meet every bank once.
  [[nodiscard]] static __device__ __forceinline__ std::uint32_t place(int row, int segment) {
    const int key = (row & 1) << 2 | (row >> 1 & 3);
    return static_cast<std::uint32_t>(row * 128 + ((segment ^ key) << 4));
  }

  __device__ __forceinline__ void load_weights(std::int32_t slot) {
    const std::uint32_t to = ring_ + static_cast<std::uint32_t>(slot * kHeldStageBytes);
    const std::int32_t row = load_tile_ * kHeldTileRows + lane_ / 8;
    const std::uint32_t bytes =
        begin_ + load_step_ * kHeldStepInputs + lane_ % 8 * 8 < end_ ? 16u : 0u;
#pragma unroll
    for (int i = 0; i < kHeldTileRows / 4; ++i) {
      if (row + 4 * i < range_.count) {
        copy_async_16(to + place(lane_ / 8 + 4 * i, lane_ % 8), next_ + 4 * i * p_.weight_stride,
                      bytes, policy_);
      }
    }
    next_ += kHeldStepInputs;
    if (++load_step_ == steps_) {
      load_step_ = 0;
      ++load_tile_;
      next_ += kHeldTileRows * p_.weight_stride - steps_ * kHeldStepInputs;
    }
  }

  /// Lane (g, t) holds inputs 8t to 8t + 7 of each 32 of its warp's 64, of row g.
  __device__ __forceinline__ void load_x() {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int32_t k = begin_ + step * kHeldStepInputs + half * 32 + lane_ % 4 * 8;
#pragma unroll
        for (int t = 0; t < kColumnTiles; ++t) {
          const std::int32_t row = t * 8 + lane_ / 4;
          x_[step][half][t] = {0, 0, 0, 0};
          if (row < p_.rows && step < steps_ && k < end_)
            x_[step][half][t] = load_16(p_.x + row * p_.x_stride + k);
        }
      }
    }
  }

  /// The scale of the row of x that this thread finishes. All threads call it.
  __device__ __forceinline__ float share_squares() {
#pragma unroll
    for (int t = 0; t < kColumnTiles; ++t) {
      float sum = 0.0f;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint4 v = x_[step][half][t];
          const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
          for (const std::uint32_t word : words) {
            const float low = from_bf16(word & 0xffffu);
            const float high = __uint_as_float(word & 0xffff0000u);
            sum = fmaf(low, low, sum);
            sum = fmaf(high, high, sum);
          }
        }
      }
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (lane_ % 4 == 0) sums_of_warps_[warp_ * kColumns + t * 8 + lane_ / 4] = sum;
    }
    __syncthreads();
    squares_ = 0.0f;
    const int column = min(thread_ / 8, kColumns - 1);
#pragma unroll
    for (int warp = 0; warp < kHeldWarps; ++warp)
      squares_ += sums_of_warps_[warp * kColumns + column];
    __syncthreads();
    return norm_scale(p_, squares_);
  }

  __device__ __forceinline__ void multiply(std::int32_t slot, int step) {
    const std::uint32_t stage = ring_ + static_cast<std::uint32_t>(slot * kHeldStageBytes);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 low = load_shared_16(stage + place(lane_ / 4, half * 4 + lane_ % 4));
      const uint4 high = load_shared_16(stage + place(lane_ / 4 + 8, half * 4 + lane_ % 4));
      const std::uint32_t first[4] = {low.x, high.x, low.y, high.y};
      const std::uint32_t second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
      for (int t = 0; t < kColumnTiles; ++t) {
        const uint4 x = x_[step][half][t];
        mma_bf16(sums_[t], first, x.x, x.y);
        mma_bf16(sums_[t], second, x.z, x.w);
      }
    }
  }

  [[nodiscard]] __device__ __forceinline__ float* partials_of(std::int32_t split) const {
    return p_.partials +
           (std::int64_t{group_} * p_.splits + split) * tiles_of_groups_ * kPartialFloats;
  }

  /// Adds up the warps' sums: outputs, or partial results. All threads call it.
  __device__ __forceinline__ void finish_tile(std::int32_t tile, float scale) {
    float* buffer = sums_of_warps_ + (kBuffers == 2 ? tile % 2 * kBufferFloats : 0);
    float* mine = buffer + (warp_ * kColumns + lane_ % 4 * 2) * kHeldTileRows + lane_ / 4;
    if (kBuffers == 1) __syncthreads();
#pragma unroll
    for (int t = 0; t < kColumnTiles; ++t) {
      float* column = mine + t * 8 * kHeldTileRows;
      column[0] = sums_[t][0];
      column[kHeldTileRows] = sums_[t][1];
      column[8] = sums_[t][2];
      column[kHeldTileRows + 8] = sums_[t][3];
    }
    __syncthreads();
    const int x_row = thread_ / 8, pair = thread_ % 8 * 2;
    const std::int32_t row = tile * kHeldTileRows + pair;
    if (x_row >= min(p_.rows, kColumns) || row >= range_.count) return;
    float2 sum = {0.0f, 0.0f};
#pragma unroll
    for (int warp = 0; warp < kHeldWarps; ++warp) {
      const float2 part = *reinterpret_cast<const float2*>(
          buffer + (warp * kColumns + x_row) * kHeldTileRows + pair);
      sum.x += part.x;
      sum.y += part.y;
    }
    if (p_.splits == 1) {
      store_pair(p_, x_row, range_.begin + row, sum, scale);
      return;
    }
    float* partial = partials_of(split_) + std::int64_t{tile} * kPartialFloats;
    *reinterpret_cast<float2*>(partial + x_row * kHeldTileRows + pair) = sum;
    if (pair == 0) partial[kColumns * kHeldTileRows + x_row] = squares_;
  }

  /// The last of a group's splits to arrive adds up the partial results of all its rows.
  __device__ __forceinline__ void merge() {
    if (!last_to_arrive(p_.counters + group_ * tiles_of_groups_, p_.splits)) return;
    const float* sums = partials_of(0);
    merge_partials<kHeldThreads, kHeldTileRows>(
        p_, {sums, sums + kColumns * kHeldTileRows, std::int64_t{tiles_of_groups_} * kPartialFloats,
             kPartialFloats, range_.begin, range_.count});
  }

  const FewRowsParams& p_;
  float* sums_of_warps_;
  int thread_, lane_, warp_;
  std::int32_t group_, split_, tiles_, tiles_of_groups_, steps_, begin_, end_, total_;
  std::int32_t load_tile_ = 0, load_step_ = 0;
  RowRange range_;
  std::uint32_t ring_;
  std::uint64_t policy_;
  const std::uint16_t* next_;
  uint4 x_[kSteps][2][kColumnTiles];
  float sums_[kColumnTiles][4];
  float squares_ = 0.0f;
};

template <int kColumnTiles, int kSteps>
__global__ void __launch_bounds__(kHeldThreads, 2)
    held_kernel(const __grid_constant__ FewRowsParams p) {
  extern __shared__ __align__(128) unsigned char held_bytes[];
  HeldProduct<kColumnTiles, kSteps>(p, held_bytes).run();
}

}  // namespace onebeat::cuda::few_rows
