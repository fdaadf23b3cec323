// SPDX-License-Identifier: Apache-2.0
// What happens to a finished sum: norm scale, bias, activation, residual, rounding.
#pragma once

#include <cuda_bf16.h>

#include "ops/cuda/few_rows_params.h"

namespace onebeat::cuda::few_rows {

__device__ __forceinline__ float from_bf16(std::uint32_t bits) {
  return __uint_as_float(bits << 16);
}

__device__ __forceinline__ std::uint16_t to_bf16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

__device__ __forceinline__ float silu(float z) {
  return z / (1.0f + __expf(-z));
}

__device__ __forceinline__ float gelu(float z) {
  const float inner = 0.7978845608028654f * (z + 0.044715f * z * z * z);
  return z / (1.0f + __expf(-2.0f * inner));  // z / 2 * (1 + tanh(inner))
}

__device__ __forceinline__ void store_one(const FewRowsParams& p, std::int64_t row,
                                          std::int32_t column, float value) {
  if (p.residual != nullptr) value += from_bf16(p.residual[row * p.residual_stride + column]);
  const std::int64_t at = row * p.y_stride + column;
  if (p.out_is_float) {
    static_cast<float*>(p.y)[at] = value;
  } else {
    static_cast<std::uint16_t*>(p.y)[at] = to_bf16(value);
  }
}

/// What a row's sums are multiplied by, from the sum of its inputs' squares.
__device__ __forceinline__ float norm_scale(const FewRowsParams& p, float squares) {
  return rsqrtf(squares / static_cast<float>(p.inputs) + p.norm_epsilon);
}

/// Finishes the sums of outputs `column`, which is even, and `column` + 1.
__device__ __forceinline__ void store_pair(const FewRowsParams& p, std::int32_t row,
                                           std::int32_t column, float2 sum, float scale) {
  const bool both = column + 1 < p.outputs;
  sum.x *= scale;
  sum.y *= scale;
  if (p.bias != nullptr) {
    sum.x += p.bias[column];
    if (both) sum.y += p.bias[column + 1];
  }
  if (p.activation != FewRowsActivation::kNone) {
    const float gate = p.activation == FewRowsActivation::kSiluMul ? silu(sum.x) : gelu(sum.x);
    store_one(p, row, column / 2, gate * sum.y);
  } else if (both && p.pair_stores) {
    if (p.residual != nullptr) {
      const std::uint32_t old =
          *reinterpret_cast<const std::uint32_t*>(p.residual + row * p.residual_stride + column);
      sum.x += from_bf16(old & 0xffffu);
      sum.y += from_bf16(old >> 16);
    }
    const std::int64_t at = row * p.y_stride + column;
    if (p.out_is_float) {
      *reinterpret_cast<float2*>(static_cast<float*>(p.y) + at) = sum;
    } else {
      *reinterpret_cast<std::uint32_t*>(static_cast<std::uint16_t*>(p.y) + at) =
          to_bf16(sum.x) | static_cast<std::uint32_t>(to_bf16(sum.y)) << 16;
    }
  } else {
    store_one(p, row, column, sum.x);
    if (both) store_one(p, row, column + 1, sum.y);
  }
}

}  // namespace onebeat::cuda::few_rows
