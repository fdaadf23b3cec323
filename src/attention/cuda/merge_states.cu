// SPDX-License-Identifier: Apache-2.0
// merge_states() on the device. A row is merged by 8 to 32 neighbouring threads of a warp, 8
// elements of it each at a time.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/cuda/merge_states.h"

namespace onebeat {
namespace {

using cuda::kMergePart;
using cuda::kMergeThreads;
using cuda::MergeParams;

constexpr float kMinusInfinity = -__builtin_huge_valf();

struct F32 {
  using Stored = float;
  __device__ static void load(const float* from, float (&x)[kMergePart]) {
    const float4 low = reinterpret_cast<const float4*>(from)[0];
    const float4 high = reinterpret_cast<const float4*>(from)[1];
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
  }
  __device__ static void store(float* to, const float (&x)[kMergePart]) {
    reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
  }
};

/// Pairs of 16-bit numbers: Pair is __half2 or __nv_bfloat162.
template <typename Pair>
struct Sixteen {
  using Stored = std::uint16_t;
  __device__ static float2 floats(__half2 pair) { return __half22float2(pair); }
  __device__ static float2 floats(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }
  __device__ static void pack(__half2& to, float2 x) { to = __float22half2_rn(x); }
  __device__ static void pack(__nv_bfloat162& to, float2 x) { to = __float22bfloat162_rn(x); }

  __device__ static void load(const std::uint16_t* from, float (&x)[kMergePart]) {
    union {
      uint4 bits;
      Pair pairs[4];
    } part;
    part.bits = *reinterpret_cast<const uint4*>(from);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = floats(part.pairs[i]);
      x[2 * i] = pair.x, x[2 * i + 1] = pair.y;
    }
  }
  __device__ static void store(std::uint16_t* to, const float (&x)[kMergePart]) {
    union {
      uint4 bits;
      Pair pairs[4];
    } part;
#pragma unroll
    for (int i = 0; i < 4; ++i) pack(part.pairs[i], make_float2(x[2 * i], x[2 * i + 1]));
    *reinterpret_cast<uint4*>(to) = part.bits;
  }
};

__device__ float* lse_of(const AttentionState& state, std::int64_t token, std::uint32_t head) {
  return state.lse + token * state.lse_token_stride + head * state.lse_head_stride;
}

template <typename Number>
__global__ void __launch_bounds__(kMergeThreads) merge_rows(const __grid_constant__ MergeParams p) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * kMergeThreads + threadIdx.x) / p.row_threads;
  const bool live = row < p.rows;
  const std::int64_t token = live ? row / p.num_heads : 0;
  const auto head = static_cast<std::uint32_t>(live ? row - token * p.num_heads : 0);
  const std::uint32_t lane = threadIdx.x % p.row_threads;
  float maximum = kMinusInfinity;
  for (std::uint32_t i = 0; i < p.num_states; ++i)
    maximum = fmaxf(maximum, *lse_of(p.states[i], token, head));
  const auto weight = [&](std::uint32_t i) {
    const float lse = *lse_of(p.states[i], token, head);
    return lse == kMinusInfinity ? 0.0f : expf(lse - maximum);
  };
  float sum = 0.0f;
  for (std::uint32_t i = 0; i < p.num_states; ++i) sum += weight(i);
  float scale = sum == 0.0f ? 0.0f : 1.0f / sum;
  if (p.sinks != nullptr && sum != 0.0f) {
    const float sink = p.sinks[head] - maximum;  // may be of any size
    scale = sink > 0.0f ? expf(-sink) / fmaf(sum, expf(-sink), 1.0f) : 1.0f / (sum + expf(sink));
  }
  for (std::uint32_t part = lane; part < p.parts; part += p.row_threads) {
    float merged[kMergePart] = {};
#pragma unroll 4
    for (std::uint32_t i = 0; i < p.num_states; ++i) {
      const AttentionState& state = p.states[i];
      const float w = weight(i) * scale;
      if (w == 0.0f) continue;  // rows of empty parts may hold anything
      const auto* from = static_cast<const typename Number::Stored*>(state.rows) +
                         token * state.token_stride + head * state.head_stride + part * kMergePart;
      float x[kMergePart];
      Number::load(from, x);
#pragma unroll
      for (int d = 0; d < kMergePart; ++d) merged[d] = fmaf(w, x[d], merged[d]);
    }
    auto* to = static_cast<typename Number::Stored*>(p.result.rows) +
               token * p.result.token_stride + head * p.result.head_stride + part * kMergePart;
    if (live) Number::store(to, merged);
  }
  __syncwarp();  // all threads of the row have read what is replaced if it is merged in place
  if (live && lane == 0 && p.result.lse != nullptr) {
    *lse_of(p.result, token, head) =
        maximum == kMinusInfinity ? kMinusInfinity : maximum + logf(sum);
  }
}

}  // namespace

const void* cuda::merge_kernel(RowType type) {
  switch (type) {
    case RowType::kF32:
      return reinterpret_cast<const void*>(&merge_rows<F32>);
    case RowType::kF16:
      return reinterpret_cast<const void*>(&merge_rows<Sixteen<__half2>>);
    case RowType::kBF16:
      return reinterpret_cast<const void*>(&merge_rows<Sixteen<__nv_bfloat162>>);
  }
  return nullptr;
}

}  // namespace onebeat
