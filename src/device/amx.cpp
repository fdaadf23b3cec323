// SPDX-License-Identifier: Apache-2.0
#include "device/amx.h"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace onebeat {

bool amx_usable() {
#if defined(__x86_64__)
  // Registers of this size need the system's permission, given to the process once.
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  static const bool usable = [] {
    const bool supported =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni");
    std::uint32_t a = 7, b = 0, c = 0, d = 0;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    const bool tiles = (d >> 24 & 1) != 0 && (d >> 22 & 1) != 0;
    return supported && tiles && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return usable;
#else
  return false;
#endif
}

}  // namespace onebeat
