// SPDX-License-Identifier: Apache-2.0
// Large heads: two neighbouring warps share tokens, each with one half of a head's elements. Then
// a warp's granules, accumulators and queries are those of a head of half the size; what the two
// must do together is to add up the scores, through shared memory.
#pragma once

#include <cstdint>

#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// S: a shape of two parts. The exchange lies where warps meet: between that and the last exchange
/// of a segment the two must wait for each other.
template <typename S>
class HeadParts {
  static constexpr int kWarpBytes = S::kRows == 8 ? S::kTokens * 32 : S::kTokens * 64;

 public:
  __device__ __forceinline__ HeadParts(std::uint32_t meeting_place, int warp, int lane)
      : pair_(warp / 2) {
    const std::uint32_t place = meeting_place + pair_ * (S::kMeetBytes / S::kTokenWarps);
    mine_ = place + warp % 2 * kWarpBytes + lane * 16;
    other_ = place + (warp + 1) % 2 * kWarpBytes + lane * 16;
    static_assert(4 * kWarpBytes <= S::kMeetBytes / S::kTokenWarps);
  }

  /// Adds the other warp's scores to those of this one.
  template <int kCount>
  __device__ __forceinline__ void add_up(float (&scores)[kCount][4]) {
    static_assert(kCount * 512 == kWarpBytes);
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      ptx::store_shared_16(mine_ + turn_ + i * 512, *reinterpret_cast<const uint4*>(scores[i]));
    meet();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint4 other = ptx::load_shared_16(other_ + turn_ + i * 512);
      scores[i][0] += __uint_as_float(other.x), scores[i][1] += __uint_as_float(other.y);
      scores[i][2] += __uint_as_float(other.z), scores[i][3] += __uint_as_float(other.w);
    }
    turn_ ^= 2 * kWarpBytes;  // the other warp may still be reading these
  }

  /// Waits for the other warp.
  __device__ __forceinline__ void meet() const {
    ptx::pair_sync(pair_);
  }

 private:
  std::uint32_t mine_, other_, turn_ = 0;
  int pair_;
};

/// A warp with whole heads.
struct WholeHeads {
  __device__ __forceinline__ WholeHeads(std::uint32_t /*meeting_place*/, int /*warp*/,
                                        int /*lane*/) {}
  template <int kCount>
  __device__ __forceinline__ void add_up(float (&/*scores*/)[kCount][4]) {}
  __device__ __forceinline__ void meet() const {}
};

}  // namespace onebeat::cuda
