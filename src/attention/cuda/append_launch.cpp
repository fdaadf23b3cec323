// SPDX-License-Identifier: Apache-2.0
// Checks what an append is given, and enqueues it.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "attention/cuda/append.h"
#include "attention/launch_check.h"
#include "base/error.h"
#include "device/cuda_status.h"
#include "device/profiler_range.h"
#include "onebeat/attention_cuda.h"

namespace onebeat {
namespace {

bool aligned(const void* data, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

Status check_input(const char* name, const HeadRows<const std::uint16_t>& rows) {
  if (aligned(rows.data, 16) && rows.token_stride % 8 == 0 && rows.head_stride % 8 == 0) return {};
  return invalid_argument(
      "rows of {} to append must be aligned to 16 bytes; their strides are {} (token) and {} "
      "(head) elements",
      name, rows.token_stride, rows.head_stride);
}

Status check_alignment(const KvPool& kv) {
  const std::int64_t vector = 16 / size_of(kv.type);
  for (const std::int64_t elements :
       {std::int64_t{kv.head_dim}, std::int64_t{kv.head_dim_v}, kv.k_page_stride, kv.k_token_stride,
        kv.k_head_stride, kv.v_page_stride, kv.v_token_stride, kv.v_head_stride}) {
    if (elements % vector != 0) {
      return invalid_argument(
          "a head size or stride of the KV pool is {} elements; with a {} cache it must be a "
          "multiple of {}",
          elements, name_of(kv.type), vector);
    }
  }
  if (!aligned(kv.k, 16) || !aligned(kv.v, 16))
    return invalid_argument("K and V of the KV pool must be aligned to 16 bytes");
  return {};
}

Status check_append(const CudaAppendLaunch& launch) {
  const KvPool& kv = launch.kv;
  const auto tokens = static_cast<std::int64_t>(launch.slots.size());
  if (cuda::append_function(launch.input_type, kv.type) == nullptr) {
    return unsupported(
        "append of {} to a {} cache; it takes bf16 or fp16, and caches of those and "
        "fp8 e4m3",
        name_of(launch.input_type), name_of(kv.type));
  }
  ONEBEAT_RETURN_IF_ERROR(check_kv_pool(kv));
  ONEBEAT_RETURN_IF_ERROR(check_head_rows("key", launch.k, tokens, kv.num_kv_heads, kv.head_dim));
  ONEBEAT_RETURN_IF_ERROR(
      check_head_rows("value", launch.v, tokens, kv.num_kv_heads, kv.head_dim_v));
  ONEBEAT_RETURN_IF_ERROR(check_input("K", launch.k));
  ONEBEAT_RETURN_IF_ERROR(check_input("V", launch.v));
  ONEBEAT_RETURN_IF_ERROR(check_alignment(kv));
  if (launch.faults == nullptr) return invalid_argument("an append needs a word for faults");
  if (!aligned(launch.slots.data(), alignof(std::int32_t)))
    return invalid_argument("slots of an append are not aligned to 4 bytes");
  if (tokens > std::numeric_limits<std::int32_t>::max())
    return out_of_range("{} tokens to append; at most 2147483647", tokens);
  return {};
}

cuda::AppendRows rows_of(const HeadRows<const std::uint16_t>& from, void* to, KvType type,
                         std::int64_t page_stride, std::int64_t token_stride,
                         std::int64_t head_stride, const float* scales) {
  cuda::AppendRows rows;
  rows.from = from.data;
  rows.from_token_stride = from.token_stride;
  rows.from_head_stride = from.head_stride;
  rows.to = to;
  rows.page_stride = page_stride;
  rows.token_stride = token_stride;
  rows.head_stride = head_stride;
  rows.scales = scales;
  rows.vectors_a_head = static_cast<std::uint32_t>(from.dim * size_of(type) / 16);
  return rows;
}

cuda::AppendParams params_of(const CudaAppendLaunch& launch) {
  const KvPool& kv = launch.kv;
  cuda::AppendParams p;
  p.k = rows_of(launch.k, kv.k, kv.type, kv.k_page_stride, kv.k_token_stride, kv.k_head_stride,
                kv.k_scales);
  p.v = rows_of(launch.v, kv.v, kv.type, kv.v_page_stride, kv.v_token_stride, kv.v_head_stride,
                kv.v_scales);
  p.slots = launch.slots.data();
  // Slots are 31 bits: those of a larger pool are all inside.
  p.num_slots =
      static_cast<std::uint32_t>(std::min(kv.num_pages * kv.page_tokens, std::int64_t{1} << 31));
  p.num_heads = static_cast<std::uint32_t>(kv.num_kv_heads);
  p.page_mask = static_cast<std::uint32_t>(kv.page_tokens - 1);
  p.page_shift = static_cast<std::uint32_t>(std::popcount(p.page_mask));
  p.status = launch.faults;
  return p;
}

}  // namespace

Status append_kv(const CudaAppendLaunch& launch, CUstream_st* stream) {
  const ProfilerRange range("append_kv");
  ONEBEAT_RETURN_IF_ERROR(check_append(launch));
  if (launch.slots.empty()) return {};
  cuda::AppendParams params = params_of(launch);
  const std::uint32_t vectors =
      params.num_heads * (params.k.vectors_a_head + params.v.vectors_a_head);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(launch.slots.size()));
  config.blockDim = dim3(std::min<unsigned>(cuda::kAppendThreads, (vectors + 31) / 32 * 32));
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  if (launch.overlap != CudaOverlap::kNone) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  void* arguments[] = {&params};
  return cuda_status(
      cudaLaunchKernelExC(&config, cuda::append_function(launch.input_type, launch.kv.type),
                          arguments),
      "append");
}

}  // namespace onebeat
