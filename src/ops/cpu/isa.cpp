// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/isa.h"

#include "device/amx.h"

namespace onebeat {

std::string_view to_string(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kPortable:
      return "portable";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512Vnni:
      return "avx512vnni";
    case CpuIsa::kAmx:
      return "amx";
  }
  return "unknown";
}

std::string_view to_string(ComputeMode mode) {
  return mode == ComputeMode::kAuto ? "auto" : "f32";
}

bool supports(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kPortable:
      return true;
#if ONEBEAT_X86
    case CpuIsa::kAvx2:
      // Every processor with AVX2 has F16C; clang 14 cannot ask for it.
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case CpuIsa::kAvx512Vnni:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vnni") && supports(CpuIsa::kAvx2);
    case CpuIsa::kAmx:
      return amx_usable() && supports(CpuIsa::kAvx512Vnni);
#endif
    default:
      return false;
  }
}

std::vector<CpuIsa> supported_isas() {
  std::vector<CpuIsa> found;
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (supports(isa)) found.push_back(isa);
  }
  return found;
}

CpuIsa best_isa() {
  return supported_isas().back();
}

}  // namespace onebeat
