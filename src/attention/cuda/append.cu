// SPDX-License-Identifier: Apache-2.0
// Stores K and V of new tokens in the cache, in its type: bound by latency in a decode step and by
// memory in a prompt, so that arithmetic costs nothing.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/cuda/append.h"
#include "attention/cuda/ptx.cuh"
#include "onebeat/attention.h"

namespace onebeat::cuda {
namespace {

template <KvType kType>
inline constexpr int kBytesOf = size_of(kType);

/// Two elements of 16 bits as floats.
template <KvType kInput>
__device__ __forceinline__ float2 widen(std::uint32_t pair) {
  if constexpr (kInput == KvType::kBF16) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
  } else {
    __half2 halves;
    __builtin_memcpy(&halves, &pair, sizeof(halves));
    return __half22float2(halves);
  }
}

/// 8 elements in another type of 16 bits.
template <KvType kInput, KvType kCache>
__device__ __forceinline__ uint4 convert(uint4 from) {
  if constexpr (kInput == kCache) return from;
  const auto pack = [](std::uint32_t pair) {
    const float2 x = widen<kInput>(pair);
    return kCache == KvType::kBF16 ? ptx::pack_bf16(x.x, x.y) : ptx::pack_f16(x.x, x.y);
  };
  return make_uint4(pack(from.x), pack(from.y), pack(from.z), pack(from.w));
}

/// 4 elements as fp8 codes. Quotients are rounded as a CPU rounds them.
template <KvType kInput>
__device__ __forceinline__ std::uint32_t encode(std::uint32_t low, std::uint32_t high,
                                                float scale) {
  const float2 a = widen<kInput>(low);
  const float2 b = widen<kInput>(high);
  const std::uint32_t first = ptx::pack_e4m3(__fdiv_rn(a.x, scale), __fdiv_rn(a.y, scale));
  const std::uint32_t second = ptx::pack_e4m3(__fdiv_rn(b.x, scale), __fdiv_rn(b.y, scale));
  return first | second << 16;
}

/// Stores 16 bytes of the cache.
template <KvType kInput, KvType kCache>
__device__ __forceinline__ void store(const AppendRows& rows, std::uint32_t token,
                                      std::uint32_t page, std::uint32_t in_page,
                                      std::uint32_t item) {
  constexpr int kElements = 16 / kBytesOf<kCache>;
  const std::uint32_t head = item / rows.vectors_a_head;
  const std::uint32_t d = (item - head * rows.vectors_a_head) * kElements;
  const auto* from = reinterpret_cast<const uint4*>(rows.from + token * rows.from_token_stride +
                                                    head * rows.from_head_stride + d);
  const std::int64_t place =
      page * rows.page_stride + in_page * rows.token_stride + head * rows.head_stride + d;
  auto* to = reinterpret_cast<uint4*>(static_cast<char*>(rows.to) + place * kBytesOf<kCache>);
  if constexpr (kCache == KvType::kF8E4M3) {
    const float scale = rows.scales != nullptr ? rows.scales[head] : 1.0f;
    const uint4 a = __ldcg(from);
    const uint4 b = __ldcg(from + 1);
    *to = make_uint4(encode<kInput>(a.x, a.y, scale), encode<kInput>(a.z, a.w, scale),
                     encode<kInput>(b.x, b.y, scale), encode<kInput>(b.z, b.w, scale));
  } else {
    *to = convert<kInput, kCache>(__ldcg(from));
  }
}

template <KvType kInput, KvType kCache>
__global__ void __launch_bounds__(kAppendThreads)
    append_kv(const __grid_constant__ AppendParams p) {
  ptx::dependency_wait();
  ptx::launch_dependents();
  const std::uint32_t token = blockIdx.x;
  const std::int32_t slot = __ldcg(p.slots + token);
  if (slot == -1) return;
  if (static_cast<std::uint32_t>(slot) >= p.num_slots) {
    if (threadIdx.x == 0) atomicOr(p.status, static_cast<std::uint32_t>(kFaultSlot));
    return;
  }
  const std::uint32_t page = static_cast<std::uint32_t>(slot) >> p.page_shift;
  const std::uint32_t in_page = static_cast<std::uint32_t>(slot) & p.page_mask;
  const std::uint32_t k_items = p.num_heads * p.k.vectors_a_head;
  const std::uint32_t items = k_items + p.num_heads * p.v.vectors_a_head;
  for (std::uint32_t item = threadIdx.x; item < items; item += blockDim.x) {
    if (item < k_items) {
      store<kInput, kCache>(p.k, token, page, in_page, item);
    } else {
      store<kInput, kCache>(p.v, token, page, in_page, item - k_items);
    }
  }
}

template <KvType kInput>
const void* function_into(KvType cache) {
  switch (cache) {
    case KvType::kBF16:
      return reinterpret_cast<const void*>(&append_kv<kInput, KvType::kBF16>);
    case KvType::kF16:
      return reinterpret_cast<const void*>(&append_kv<kInput, KvType::kF16>);
    case KvType::kF8E4M3:
      return reinterpret_cast<const void*>(&append_kv<kInput, KvType::kF8E4M3>);
    case KvType::kF32:
      break;
  }
  return nullptr;
}

}  // namespace

const void* append_function(KvType input, KvType cache) {
  if (input == KvType::kBF16) return function_into<KvType::kBF16>(cache);
  if (input == KvType::kF16) return function_into<KvType::kF16>(cache);
  return nullptr;
}

}  // namespace onebeat::cuda
