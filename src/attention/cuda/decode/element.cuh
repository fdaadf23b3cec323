// SPDX-License-Identifier: Apache-2.0
// What a variant computes with. Queries, probabilities, outputs and both operands of every product
// have one type of 16 bits; products are summed up in fp32. The cache's elements are kKvBytes wide.
#pragma once

#include <cstdint>

#include "attention/cuda/ptx.cuh"
#include "attention/cuda/wgmma.cuh"
#include "onebeat/geometry.h"

namespace onebeat::cuda {

struct Bf16 {
  static constexpr KvType kKvType = KvType::kBF16;
  static constexpr int kKvBytes = 2;

  /// Two floats as elements, the first in the low half.
  __device__ __forceinline__ static std::uint32_t pack(float low, float high) {
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

  __device__ __forceinline__ static std::uint32_t pack(float low, float high) {
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

}  // namespace onebeat::cuda
