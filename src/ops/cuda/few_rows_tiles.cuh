// SPDX-License-Identifier: Apache-2.0
// Products for few rows on tensor cores: the weight's rows are the rows of the tiles, the rows of x
// their columns.
//
// A CTA owns a group's rows of the weight and a run of K. It walks over tiles of kTileRows of those
// rows, and over each tile in steps of kStepInputs of K: the loads of a step (weights and x) form a
// stage of a ring in shared memory, and kStages - 1 steps are on their way while one is multiplied.
// The ring's first weights are asked for before the wait for earlier kernels, since nothing writes
// weights. Only rows that exist are loaded: rows beyond the group or beyond M keep what the memory
// held, and spoil only sums that nobody reads.
//
// Every sum has one order: steps of K, then the parts of a step among the warps, then splits,
// whatever M is.
#pragma once

#include <algorithm>

#include "device/dependent_launch.cuh"
#include "ops/cuda/few_rows_merge.cuh"
#include "ops/cuda/few_rows_output.cuh"
#include "ops/cuda/few_rows_params.h"
#include "ops/cuda/few_rows_ptx.cuh"

namespace onebeat::cuda::few_rows {

inline constexpr int kPanelInputs = 64;  // a panel's row: 128 bytes, swizzled by 16

enum class TileEngine { kMma, kWgmma };

/// The sizes of one kernel. kColumns: most rows of x.
template <TileEngine kEngineValue, int kTileRowsValue, int kStepInputsValue, int kColumnsValue,
          int kSharedKiBytes, int kThreadsValue = 256>
struct TileShape {
  static constexpr int kThreads = kThreadsValue;
  static constexpr int kWarps = kThreads / 32;
  static constexpr TileEngine kEngine = kEngineValue;
  static constexpr int kTileRows = kTileRowsValue;
  static constexpr int kStepInputs = kStepInputsValue;
  static constexpr int kColumns = kColumnsValue;
  static constexpr int kPanels = kStepInputs / kPanelInputs;
  static constexpr int kColumnTiles = (kColumns + 7) / 8;
  static constexpr int kWeightPanelBytes = kTileRows * 128;
  static constexpr int kXPanelBytes = kColumns * 128;
  static constexpr int kWeightBytes = kPanels * kWeightPanelBytes;
  static constexpr int kStageBytes = kWeightBytes + kPanels * kXPanelBytes;
  static constexpr int kAlignment = 1024;
  static constexpr int kStages = (kSharedKiBytes * 1024 - kAlignment) / kStageBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + kAlignment;
  /// Each warp (warp group) has 16 (64) rows of a tile and one panel of a step.
  static constexpr int kRowsOfUnit = kEngine == TileEngine::kMma ? 16 : 64;
  static constexpr int kUnits = kEngine == TileEngine::kMma ? kWarps : kWarps / 4;
  static constexpr int kRowUnits = kTileRows / kRowsOfUnit;
  static_assert(kRowUnits * kPanels == kUnits, "a panel for each unit");
  static_assert(kStages >= 3, "nothing would be on its way");
  // Sums leave through the stage that was multiplied last, some columns at a time.
  static constexpr int kSumStride = kTileRows + 4;
  static constexpr int kSumBytesOfColumn = kPanels * kSumStride * 4;
  static constexpr int kAllColumns = kColumnTiles * 8;
  static constexpr int kTileFloats = kAllColumns * kTileRows;
  static constexpr int kPartialFloats = kTileFloats + kAllColumns;  // and the squares of x
  /// Threads that add up the squares of a row of x, the same for all kernels of a family.
  static constexpr int kSquareThreads = kEngine == TileEngine::kMma ? kStepInputs / 16 : 4;
  static_assert(kSquareThreads * kColumns <= kThreads && kSquareThreads <= 32);
  static constexpr int kBlockColumns =
      kAllColumns * kSumBytesOfColumn <= kStageBytes ? kAllColumns : kAllColumns / 2;
  static_assert(kBlockColumns % 8 == 0 && kBlockColumns * kSumBytesOfColumn <= kStageBytes);
};

/// Where a CTA's loads stand: a step of a tile.
struct LoadCursor {
  std::int32_t tile = 0;
  std::int32_t input = 0;
};

template <typename Shape>
class TileProduct {
 public:
  __device__ __forceinline__ TileProduct(const FewRowsParams& p, std::uint32_t ring)
      : p_(p), ring_(ring), thread_(static_cast<int>(threadIdx.x)) {
    const auto block = static_cast<std::int32_t>(blockIdx.x);
    const auto groups = static_cast<std::int32_t>(gridDim.x) / p.splits;
    group_ = block / p.splits;
    split_ = block - group_ * p.splits;
    range_ = group_rows(p.outputs, group_, groups);
    const std::int32_t steps = (p.inputs + Shape::kStepInputs - 1) / Shape::kStepInputs;
    begin_ = steps * split_ / p.splits * Shape::kStepInputs;
    end_ = min(steps * (split_ + 1) / p.splits * Shape::kStepInputs, p.inputs);
    tiles_ = (range_.count + Shape::kTileRows - 1) / Shape::kTileRows;
    tiles_of_groups_ = tiles_of_group(p.outputs, groups, Shape::kTileRows);
    total_ = tiles_ * ((end_ - begin_ + Shape::kStepInputs - 1) / Shape::kStepInputs);
    weights_next_ = {0, begin_};
    x_next_ = {0, begin_};
    weight_policy_ = evict_first_policy();
    x_policy_ = evict_normal_policy();
  }

  __device__ __forceinline__ void run() {
    const std::int32_t trigger_at = max(total_ - p_.trigger, 0);
#pragma unroll
    for (int i = 0; i < Shape::kStages - 1; ++i) {
      if (i < total_) load_weights(i);
      copy_async_commit();
    }
    bool triggered = trigger_at < Shape::kStages - 1;
    if (triggered) let_dependents_start();
    wait_for_predecessors();
#pragma unroll
    for (int i = 0; i < Shape::kStages - 1; ++i) {
      if (i < total_) load_x(i);
      copy_async_commit();
    }
    std::int32_t slot = 0;
    std::int32_t input = begin_, tile = 0;
    clear();
    for (std::int32_t i = 0; i < total_; ++i) {
      copy_async_wait<Shape::kStages - 2>();
      if constexpr (Shape::kEngine == TileEngine::kWgmma) fence_async_proxy();
      __syncthreads();
      const std::int32_t ahead = i + Shape::kStages - 1;
      if (ahead < total_) {
        const std::int32_t free_slot = slot == 0 ? Shape::kStages - 1 : slot - 1;
        load_weights(free_slot);
        load_x(free_slot);
      }
      copy_async_commit();
      if (!triggered && ahead >= trigger_at) {
        triggered = true;
        let_dependents_start();
      }
      multiply(slot);
      if (tile == 0 && p_.norm_epsilon >= 0) add_squares(slot);
      input += Shape::kStepInputs;
      if (input >= end_) {
        finish_tile(tile, slot);
        clear();
        input = begin_;
        ++tile;
      }
      slot = slot + 1 == Shape::kStages ? 0 : slot + 1;
    }
  }

 private:
  [[nodiscard]] __device__ __forceinline__ std::uint32_t weights_of(std::int32_t slot) const {
    return ring_ + static_cast<std::uint32_t>(slot * Shape::kStageBytes);
  }

  __device__ __forceinline__ void advance(LoadCursor& cursor) const {
    cursor.input += Shape::kStepInputs;
    if (cursor.input >= end_) {
      cursor.input = begin_;
      ++cursor.tile;
    }
  }

  /// Copies kRows (at most `rows`) x kStepInputs to panels.
  template <int kRows>
  __device__ __forceinline__ void load_panels(std::uint32_t destination,
                                              const std::uint16_t* source, std::int64_t stride,
                                              std::int32_t rows, std::int32_t input,
                                              std::uint64_t policy) const {
    constexpr int kSegments = Shape::kStepInputs / 8;
    constexpr int kCopies = kRows * kSegments;
    static_assert(Shape::kThreads % kSegments == 0);
    const int segment = thread_ % kSegments;
    const int first = thread_ / kSegments;
    constexpr int kRowStep = Shape::kThreads / kSegments;
    const std::int32_t k = input + segment * 8;
    const std::uint32_t bytes = k < end_ ? 16u : 0u;
    const std::uint16_t* from = source + first * stride + k;
    const std::uint32_t panel =
        destination + static_cast<std::uint32_t>((segment / 8) * kRows * 128);
#pragma unroll
    for (int i = 0; i < (kCopies + Shape::kThreads - 1) / Shape::kThreads; ++i) {
      const int row = first + i * kRowStep;
      if (row < rows) {
        copy_async_16(
            panel + static_cast<std::uint32_t>(row * 128 + (((segment & 7) ^ (row & 7)) << 4)),
            from + i * (kRowStep * stride), bytes, policy);
      }
    }
  }

  __device__ __forceinline__ void load_weights(std::int32_t slot) {
    const std::int32_t row = weights_next_.tile * Shape::kTileRows;
    load_panels<Shape::kTileRows>(
        weights_of(slot), p_.weight + (range_.begin + row) * p_.weight_stride, p_.weight_stride,
        min(range_.count - row, Shape::kTileRows), weights_next_.input, weight_policy_);
    advance(weights_next_);
  }

  __device__ __forceinline__ void load_x(std::int32_t slot) {
    load_panels<Shape::kColumns>(weights_of(slot) + Shape::kWeightBytes, p_.x, p_.x_stride, p_.rows,
                                 x_next_.input, x_policy_);
    advance(x_next_);
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (auto& tile : sums_) {
#pragma unroll
      for (float& sum : tile) sum = 0.0f;
    }
  }

  [[nodiscard]] __device__ __forceinline__ int unit() const {
    return Shape::kEngine == TileEngine::kMma ? thread_ / 32 : thread_ / 128;
  }
  [[nodiscard]] __device__ __forceinline__ int panel_of_unit() const {
    return unit() % Shape::kPanels;
  }
  [[nodiscard]] __device__ __forceinline__ int row_of_unit() const {
    return unit() / Shape::kPanels * Shape::kRowsOfUnit;
  }

  __device__ __forceinline__ void multiply(std::int32_t slot) {
    const std::uint32_t a =
        weights_of(slot) + static_cast<std::uint32_t>(panel_of_unit() * Shape::kWeightPanelBytes +
                                                      row_of_unit() * 128);
    const std::uint32_t b =
        weights_of(slot) +
        static_cast<std::uint32_t>(Shape::kWeightBytes + panel_of_unit() * Shape::kXPanelBytes);
    if constexpr (Shape::kEngine == TileEngine::kMma) {
      multiply_mma(a, b);
    } else {
      multiply_wgmma(a, b);
    }
  }

  __device__ __forceinline__ void multiply_wgmma(std::uint32_t a, std::uint32_t b) {
    if constexpr (Shape::kEngine == TileEngine::kWgmma) {
      const std::uint64_t a_panel = panel_descriptor(a);
      const std::uint64_t b_panel = panel_descriptor(b);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kPanelInputs / 16; ++k) {
        wgmma_bf16(sums_, a_panel + static_cast<unsigned>(k * 2),
                   b_panel + static_cast<unsigned>(k * 2));
      }
      wgmma_commit_and_wait();
    }
  }

  __device__ __forceinline__ void multiply_mma(std::uint32_t a, std::uint32_t b) {
    const int lane = thread_ & 31;
    const auto at = [](std::uint32_t panel, int row, int segment) {
      return panel + static_cast<std::uint32_t>(row * 128 + ((segment ^ (row & 7)) << 4));
    };
    const int a_row = lane & 15, a_segment = lane >> 4;
#pragma unroll
    for (int k = 0; k < kPanelInputs / 16; k += 2) {
      std::uint32_t weights[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) load_matrices(weights[i], at(a, a_row, (k + i) * 2 + a_segment));
      if constexpr (Shape::kColumnTiles == 1) {
        std::uint32_t x[4];
        load_matrices(x, at(b, (lane & 7) & (Shape::kColumns - 1), k * 2 + (lane >> 3)));
        mma_bf16(sums_[0], weights[0], x[0], x[1]);
        mma_bf16(sums_[0], weights[1], x[2], x[3]);
      } else {
#pragma unroll
        for (int pair = 0; pair < Shape::kColumnTiles / 2; ++pair) {
          const int row = pair * 16 + (lane & 7) + (lane >> 4) * 8;
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            std::uint32_t x[4];
            load_matrices(x, at(b, row, (k + i) * 2 + ((lane >> 3) & 1)));
            mma_bf16(sums_[2 * pair], weights[i], x[0], x[1]);
            mma_bf16(sums_[2 * pair + 1], weights[i], x[2], x[3]);
          }
        }
      }
    }
  }

  /// Sums of the panels of a step, outputs or partial results. All threads call it.
  __device__ __forceinline__ void finish_tile(std::int32_t tile, std::int32_t slot) {
    extern __shared__ unsigned char shared_bytes[];
    // The ring's place in the generic address space.
    float* sums =
        reinterpret_cast<float*>(shared_bytes + (weights_of(slot) - shared_address(shared_bytes)));
    const std::int32_t rows = min(range_.count - tile * Shape::kTileRows, Shape::kTileRows);
    if (tile == 0 && p_.norm_epsilon >= 0) share_squares();
    float* partial = nullptr;
    std::int64_t merged_tile = 0;
    if (p_.splits > 1) {
      merged_tile = std::int64_t{group_} * tiles_of_groups_ + tile;
      partial = p_.partials + (merged_tile * p_.splits + split_) * Shape::kPartialFloats;
    }
#pragma unroll
    for (int block = 0; block < Shape::kAllColumns / Shape::kBlockColumns; ++block) {
      __syncthreads();
      spread_sums(sums, block);
      __syncthreads();
      const int columns = min(p_.rows - block * Shape::kBlockColumns, Shape::kBlockColumns);
      for (int i = thread_; i < columns * (Shape::kTileRows / 2); i += Shape::kThreads) {
        const int column = i / (Shape::kTileRows / 2);
        const int row = i % (Shape::kTileRows / 2) * 2;
        if (row >= rows) continue;
        float2 sum = {0.0f, 0.0f};
#pragma unroll
        for (int panel = 0; panel < Shape::kPanels; ++panel) {
          const float2 part = *reinterpret_cast<const float2*>(
              sums + (panel * Shape::kBlockColumns + column) * Shape::kSumStride + row);
          sum.x += part.x;
          sum.y += part.y;
        }
        const int x_row = block * Shape::kBlockColumns + column;
        if (p_.splits > 1) {
          *reinterpret_cast<float2*>(partial + x_row * Shape::kTileRows + row) = sum;
        } else {
          const float scale = p_.norm_epsilon < 0 ? 1.0f : norm_scale(p_, squares_of_rows()[x_row]);
          store_pair(p_, x_row, range_.begin + tile * Shape::kTileRows + row, sum, scale);
        }
      }
    }
    if (p_.splits == 1) return;
    if (p_.norm_epsilon >= 0 && thread_ < p_.rows)
      partial[Shape::kTileFloats + thread_] = squares_of_rows()[thread_];
    merge(merged_tile, tile, rows);
  }

  __device__ __forceinline__ void spread_sums(float* sums, int block) const {
    const int lane = thread_ & 31;
    const int row = row_of_unit() + lane / 4 +
                    (Shape::kEngine == TileEngine::kWgmma ? thread_ / 32 % 4 * 16 : 0);
    float* mine = sums + panel_of_unit() * Shape::kBlockColumns * Shape::kSumStride + row;
#pragma unroll
    for (int t = 0; t < Shape::kColumnTiles; ++t) {
      if (t * 8 / Shape::kBlockColumns != block) continue;
      float* column = mine + (t * 8 % Shape::kBlockColumns + lane % 4 * 2) * Shape::kSumStride;
      column[0] = sums_[t][0];
      column[Shape::kSumStride] = sums_[t][1];
      column[8] = sums_[t][2];
      column[Shape::kSumStride + 8] = sums_[t][3];
    }
  }

  /// The last of a group's splits to arrive adds up all of them, in their order.
  __device__ __forceinline__ void merge(std::int64_t merged_tile, std::int32_t tile,
                                        std::int32_t rows) {
    if (!last_to_arrive(p_.counters + merged_tile, p_.splits)) return;
    const float* sums = p_.partials + merged_tile * p_.splits * Shape::kPartialFloats;
    merge_partials<Shape::kThreads, Shape::kTileRows>(
        p_, {sums, sums + Shape::kTileFloats, Shape::kPartialFloats, 0,
             range_.begin + tile * Shape::kTileRows, rows});
  }

  /// Each row of x has its threads, and they their segments of every step.
  __device__ __forceinline__ void add_squares(std::int32_t slot) {
    constexpr int kSegments = Shape::kStepInputs / 8;
    const int row = thread_ / Shape::kSquareThreads, part = thread_ % Shape::kSquareThreads;
    if (row >= p_.rows) return;
    const std::uint32_t x =
        weights_of(slot) + static_cast<std::uint32_t>(Shape::kWeightBytes + row * 128);
#pragma unroll
    for (int i = 0; i < kSegments / Shape::kSquareThreads; ++i) {
      const int segment = i * Shape::kSquareThreads + part;
      const uint4 v =
          load_shared_16(x + static_cast<std::uint32_t>(segment / 8 * Shape::kXPanelBytes +
                                                        (((segment & 7) ^ (row & 7)) << 4)));
      const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (const std::uint32_t word : words) {
        const float low = from_bf16(word & 0xffffu), high = __uint_as_float(word & 0xffff0000u);
        squares_ = fmaf(low, low, squares_);
        squares_ = fmaf(high, high, squares_);
      }
    }
  }

  [[nodiscard]] static __device__ __forceinline__ float* squares_of_rows() {
    __shared__ float squares[Shape::kColumns];
    return squares;
  }

  /// Seen by all threads behind the next barrier.
  __device__ __forceinline__ void share_squares() {
    float sum = squares_;
#pragma unroll
    for (int distance = Shape::kSquareThreads / 2; distance > 0; distance /= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (thread_ % Shape::kSquareThreads == 0 && thread_ / Shape::kSquareThreads < Shape::kColumns)
      squares_of_rows()[thread_ / Shape::kSquareThreads] = sum;
  }

  const FewRowsParams& p_;
  std::uint32_t ring_;
  int thread_;
  std::int32_t group_, split_, begin_, end_, tiles_, tiles_of_groups_, total_;
  RowRange range_;
  LoadCursor weights_next_, x_next_;
  std::uint64_t weight_policy_, x_policy_;
  float sums_[Shape::kColumnTiles][4];
  float squares_ = 0.0f;  ///< Of this thread's part of a row of x.
};

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 512 / Shape::kThreads)
    tile_kernel(const __grid_constant__ FewRowsParams p) {
  extern __shared__ unsigned char shared_bytes[];
  constexpr auto kAlign = static_cast<std::uint32_t>(Shape::kAlignment - 1);
  TileProduct<Shape>(p, (shared_address(shared_bytes) + kAlign) & ~kAlign).run();
}

}  // namespace onebeat::cuda::few_rows
