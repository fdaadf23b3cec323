// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "attention/cpu/launch_frame.h"
#include "attention/launch_check.h"
#include "base/error.h"
#include "device/thread_pool.h"

namespace onebeat {
namespace cpu {
namespace {

void store_row(const KernelTable& kernels, KvType type, const float* from, void* base,
               std::int64_t offset, std::int32_t dim, float scale) {
  switch (type) {
    case KvType::kF32:
      std::memcpy(static_cast<float*>(base) + offset, from,
                  static_cast<std::size_t>(dim) * sizeof(float));
      break;
    case KvType::kF16:
      kernels.store_f16(from, static_cast<std::uint16_t*>(base) + offset, dim);
      break;
    case KvType::kBF16:
      kernels.store_bf16(from, static_cast<std::uint16_t*>(base) + offset, dim);
      break;
    case KvType::kF8E4M3:
      kernels.store_f8(from, static_cast<std::uint8_t*>(base) + offset, dim, scale);
      break;
  }
}

void fetch_row(KvType type, const void* base, std::int64_t offset, std::int32_t dim) {
  constexpr std::int64_t kLine = 64;
  const auto* row = static_cast<const char*>(base) + offset * size_of(type);
  for (std::int64_t at = 0; at < std::int64_t{dim} * size_of(type); at += kLine) {
    __builtin_prefetch(row + at, 1);
  }
}

}  // namespace
}  // namespace cpu

Status append_kv(const AppendLaunch& launch, ThreadPool& pool) {
  using namespace cpu;  // NOLINT: the twin's own names
  if (launch.report != nullptr) *launch.report = {};
  const KvPool& kv = launch.kv;
  const auto tokens = static_cast<std::int64_t>(launch.slots.size());
  ONEBEAT_ASSIGN_OR_RETURN(const KernelTable* kernels, choose_kernels(launch.variant));
  ONEBEAT_RETURN_IF_ERROR(check_kv_pool(kv));
  ONEBEAT_RETURN_IF_ERROR(check_host_kv_scales(kv));
  ONEBEAT_RETURN_IF_ERROR(check_head_rows("key", launch.k, tokens, kv.num_kv_heads, kv.head_dim));
  ONEBEAT_RETURN_IF_ERROR(
      check_head_rows("value", launch.v, tokens, kv.num_kv_heads, kv.head_dim_v));

  // Some KB for each claim; a decode step of few tokens is done by the caller alone.
  const std::int64_t grain = std::max<std::int64_t>(
      1, 16384 / (std::int64_t{kv.num_kv_heads} * (kv.head_dim + kv.head_dim_v)));
  const int shift = std::countr_zero(static_cast<std::uint32_t>(kv.page_tokens));
  std::atomic<std::uint32_t> faults{0};
  pool.parallel_for(tokens, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t token = begin; token < end; ++token) {
      const std::int64_t slot = launch.slots[static_cast<std::size_t>(token)];
      if (slot == -1) continue;
      const std::int64_t page = slot >> shift;
      const std::int64_t offset = slot & (kv.page_tokens - 1);
      if (slot < 0 || page >= kv.num_pages) {
        faults.fetch_or(kFaultSlot, std::memory_order_relaxed);
        continue;
      }
      const std::int64_t k_token = page * kv.k_page_stride + offset * kv.k_token_stride;
      const std::int64_t v_token = page * kv.v_page_stride + offset * kv.v_token_stride;
      // Each head's row lies far from the others. Stores wait one after the other; asked for at
      // once, the rows arrive together.
      for (std::int32_t head = 0; head < kv.num_kv_heads; ++head) {
        fetch_row(kv.type, kv.k, k_token + head * kv.k_head_stride, kv.head_dim);
        fetch_row(kv.type, kv.v, v_token + head * kv.v_head_stride, kv.head_dim_v);
      }
      for (std::int32_t head = 0; head < kv.num_kv_heads; ++head) {
        store_row(*kernels, kv.type,
                  launch.k.data + token * launch.k.token_stride + head * launch.k.head_stride, kv.k,
                  k_token + head * kv.k_head_stride, kv.head_dim, scale_of(kv.k_scales, head));
        store_row(*kernels, kv.type,
                  launch.v.data + token * launch.v.token_stride + head * launch.v.head_stride, kv.v,
                  v_token + head * kv.v_head_stride, kv.head_dim_v, scale_of(kv.v_scales, head));
      }
    }
  });
  return report_faults(faults.load(), *kernels, launch.report);
}

}  // namespace onebeat
