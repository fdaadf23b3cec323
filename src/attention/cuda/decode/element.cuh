// SPDX-License-Identifier: Apache-2.0
// What a variant computes with. Both operands of every product have one type of 16 bits, which that
// of queries and outputs is too unless the cache has a narrower one; products are summed up in
// fp32. The cache's elements are kKvBytes wide.
#pragma once

#include <cstdint>

#include "attention/cuda/ptx.cuh"
#include "attention/cuda/wgmma.cuh"
#include "onebeat/geometry.h"

namespace onebeat::cuda {

struct Bf16 {
  static constexpr KvType kKvType = KvType::kBF16;
  static constexpr int kKvBytes = 2;
  /// Probabilities may be up to 2 to this, so that the small ones of a narrow range lose nothing.
  static constexpr float kHeadroom = 0.0f;

  /// Two floats as elements of the output, the first in the low half.
  __device__ __forceinline__ static std::uint32_t pack(float low, float high) {
    return ptx::pack_bf16(low, high);
  }
  /// Two probabilities as operands.
  __device__ __forceinline__ static std::uint32_t pack_weights(float low, float high) {
    return ptx::pack_bf16(low, high);
  }
  /// c += a * b for a 16x16 by 16x8 product.
  __device__ __forceinline__ static void mma(float (&c)[4], std::uint32_t a0, std::uint32_t a1,
                                             std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                                             std::uint32_t b1) {
    ptx::mma_bf16(c, a0, a1, a2, a3, b0, b1);
  }
  /// d = a * b^T (+ d if `add`): a of 64 rows, b of kCount * 2 rows, both 16 elements of a row.
  template <int kCount>
  __device__ __forceinline__ static void wgmma_rows(float (&d)[kCount], std::uint64_t a,
                                                    std::uint64_t b, bool add) {
    ptx::wgmma_rows_bf16(d, a, b, add);
  }
  /// d += a * b: a of 64 rows in registers, b of 16 rows of kCount * 2 elements.
  template <int kCount>
  __device__ __forceinline__ static void wgmma_columns(float (&d)[kCount],
                                                       const std::uint32_t (&a)[4],
                                                       std::uint64_t b) {
    ptx::wgmma_columns_bf16(d, a, b);
  }
};

/// See Bf16.
struct F16 {
  static constexpr KvType kKvType = KvType::kF16;
  static constexpr int kKvBytes = 2;
  static constexpr float kHeadroom = 0.0f;

  __device__ __forceinline__ static std::uint32_t pack(float low, float high) {
    return ptx::pack_f16(low, high);
  }
  __device__ __forceinline__ static std::uint32_t pack_weights(float low, float high) {
    return ptx::pack_f16(low, high);
  }
  __device__ __forceinline__ static void mma(float (&c)[4], std::uint32_t a0, std::uint32_t a1,
                                             std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                                             std::uint32_t b1) {
    ptx::mma_f16(c, a0, a1, a2, a3, b0, b1);
  }
  template <int kCount>
  __device__ __forceinline__ static void wgmma_rows(float (&d)[kCount], std::uint64_t a,
                                                    std::uint64_t b, bool add) {
    ptx::wgmma_rows_f16(d, a, b, add);
  }
  template <int kCount>
  __device__ __forceinline__ static void wgmma_columns(float (&d)[kCount],
                                                       const std::uint32_t (&a)[4],
                                                       std::uint64_t b) {
    ptx::wgmma_columns_f16(d, a, b);
  }
};

/// A cache of fp8 e4m3 with scales of its heads; queries and outputs are bf16. Codes are widened to
/// fp16, which holds them all, where they are used, and products are fp16's. Queries become fp16
/// without loss by a power of two of their row (QueryRows).
struct F8 {
  static constexpr KvType kKvType = KvType::kF8E4M3;
  static constexpr int kKvBytes = 1;
  static constexpr float kHeadroom = 8.0f;

  __device__ __forceinline__ static std::uint32_t pack(float low, float high) {
    return ptx::pack_bf16(low, high);
  }
  __device__ __forceinline__ static std::uint32_t pack_weights(float low, float high) {
    return ptx::pack_f16(low, high);
  }
  __device__ __forceinline__ static void mma(float (&c)[4], std::uint32_t a0, std::uint32_t a1,
                                             std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                                             std::uint32_t b1) {
    ptx::mma_f16(c, a0, a1, a2, a3, b0, b1);
  }
  /// Codes 0 and 1, and codes 2 and 3.
  __device__ __forceinline__ static void widen(std::uint32_t codes, std::uint32_t& low,
                                               std::uint32_t& high) {
    low = ptx::widen_e4m3(static_cast<std::uint16_t>(codes));
    high = ptx::widen_e4m3(static_cast<std::uint16_t>(codes >> 16));
  }
  /// Codes 0 and 2, and codes 1 and 3.
  __device__ __forceinline__ static void widen_alternate(std::uint32_t codes, std::uint32_t& even,
                                                         std::uint32_t& odd) {
    widen(__byte_perm(codes, 0, 0x3120), even, odd);
  }
};

}  // namespace onebeat::cuda
