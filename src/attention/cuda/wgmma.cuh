// SPDX-License-Identifier: Apache-2.0
// Warp-group matrix products (wgmma), and the layout of operands that they read from shared memory.
//
// Operands lie in panels: rows of 64 elements of 16 bits (128 bytes), the 16-byte segments of a row
// exclusive-or'ed with the row modulo 8. Panels start at multiples of 1,024 bytes. Wider rows are
// several panels side by side.
#pragma once

#include <cstdint>

namespace onebeat::cuda::ptx {

/// Before the first product, and whenever other code wrote registers that a product reads or adds
/// to.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until at most `kPending` of the youngest groups are incomplete.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Orders what other code wrote to shared memory before what products read after.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Gives registers of this warp group back: from now on it has `kCount` a thread.
template <int kCount>
__device__ __forceinline__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// Waits for registers that others of the CTA give back: from now on it has `kCount` a thread.
template <int kCount>
__device__ __forceinline__ void claim_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// Names panels that start at `address`, `panel_bytes` apart; 8 rows of a panel are 1,024
/// bytes.
__device__ __forceinline__ std::uint64_t panel_descriptor(std::uint32_t address,
                                                          std::uint32_t panel_bytes) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kEightRows = std::uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | (std::uint64_t{panel_bytes >> 4} << 16) |
         ((address & 0x3ffffu) >> 4);
}

/// The same panels, seen from `bytes` further on.
__device__ __forceinline__ std::uint64_t descriptor_behind(std::uint64_t descriptor,
                                                           std::uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

// ---- Products ----
//
// wgmma_rows_T(d, a, b, add): d = a * b^T (+ d if `add`); a of 64 rows, b of 2 * count rows, both
// 16 elements of a row. wgmma_columns_T(d, a, b): d += a * b; a of 64 rows in registers, b of 16
// rows of 2 * count elements. T is the type of a and b; d has `count` floats a thread.

#define ONEBEAT_LIST_16               \
  "{%0, %1, %2, %3, %4, %5, %6, %7, " \
  "%8, %9, %10, %11, %12, %13, %14, %15"
#define ONEBEAT_LIST_32                      \
  ONEBEAT_LIST_16                            \
  ", "                                       \
  "%16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define ONEBEAT_LIST_64                      \
  ONEBEAT_LIST_32                            \
  ", "                                       \
  "%32, %33, %34, %35, %36, %37, %38, %39, " \
  "%40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, " \
  "%56, %57, %58, %59, %60, %61, %62, %63"
#define ONEBEAT_LIST_128                             \
  ONEBEAT_LIST_64                                    \
  ", "                                               \
  "%64, %65, %66, %67, %68, %69, %70, %71, "         \
  "%72, %73, %74, %75, %76, %77, %78, %79, "         \
  "%80, %81, %82, %83, %84, %85, %86, %87, "         \
  "%88, %89, %90, %91, %92, %93, %94, %95, "         \
  "%96, %97, %98, %99, %100, %101, %102, %103, "     \
  "%104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"
#define ONEBEAT_FLOATS_8(d, i)                                                                \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define ONEBEAT_FLOATS_16(d, i) ONEBEAT_FLOATS_8(d, i), ONEBEAT_FLOATS_8(d, i + 8)
#define ONEBEAT_FLOATS_32(d, i) ONEBEAT_FLOATS_16(d, i), ONEBEAT_FLOATS_16(d, i + 16)
#define ONEBEAT_FLOATS_64(d, i) ONEBEAT_FLOATS_32(d, i), ONEBEAT_FLOATS_32(d, i + 32)
#define ONEBEAT_FLOATS_128(d, i) ONEBEAT_FLOATS_64(d, i), ONEBEAT_FLOATS_64(d, i + 64)

// `shape` is the instruction's N; %a to %e are the first numbers behind the list of d.
#define ONEBEAT_WGMMA(type, count, shape, a_, b_, c_, d_, e_)                              \
  __device__ __forceinline__ void wgmma_rows_##type(float(&d)[count], std::uint64_t a,     \
                                                    std::uint64_t b, bool add) {           \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" c_                                      \
                 ", 0; wgmma.mma_async.sync.aligned.m64n" shape "k16.f32." #type "." #type \
                 " " ONEBEAT_LIST_##count "}, %" a_ ", %" b_ ", p, 1, 1, 0, 0;}"           \
                 : ONEBEAT_FLOATS_##count(d, 0)                                            \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                            \
  }                                                                                        \
  __device__ __forceinline__ void wgmma_columns_##type(                                    \
      float(&d)[count], const std::uint32_t(&a)[4], std::uint64_t b) {                     \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" shape "k16.f32." #type "." #type      \
                 " " ONEBEAT_LIST_##count "}, {%" a_ ", %" b_ ", %" c_ ", %" d_ "}, %" e_  \
                                          ", 1, 1, 1, 1;"                                  \
                 : ONEBEAT_FLOATS_##count(d, 0)                                            \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                    \
  }

ONEBEAT_WGMMA(bf16, 16, "32", "16", "17", "18", "19", "20")
ONEBEAT_WGMMA(bf16, 32, "64", "32", "33", "34", "35", "36")
ONEBEAT_WGMMA(bf16, 64, "128", "64", "65", "66", "67", "68")
ONEBEAT_WGMMA(bf16, 128, "256", "128", "129", "130", "131", "132")
ONEBEAT_WGMMA(f16, 16, "32", "16", "17", "18", "19", "20")
ONEBEAT_WGMMA(f16, 32, "64", "32", "33", "34", "35", "36")
ONEBEAT_WGMMA(f16, 64, "128", "64", "65", "66", "67", "68")

#undef ONEBEAT_WGMMA
#undef ONEBEAT_FLOATS_128
#undef ONEBEAT_FLOATS_64
#undef ONEBEAT_FLOATS_32
#undef ONEBEAT_FLOATS_16
#undef ONEBEAT_FLOATS_8
#undef ONEBEAT_LIST_128
#undef ONEBEAT_LIST_64
#undef ONEBEAT_LIST_32
#undef ONEBEAT_LIST_16

}  // namespace onebeat::cuda::ptx
