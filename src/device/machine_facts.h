// SPDX-License-Identifier: Apache-2.0
// What machine this is: for `onebeat doctor`, and for the heads of benchmark results.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onebeat {

struct CpuFacts {
  std::string model;   ///< "unknown" where the system does not say.
  int processors = 0;  ///< Logical ones in the machine.
  int cores = 0;       ///< Physical ones; 0 where the system does not say.
  std::vector<std::string>
      features;  ///< Those of its instruction sets that matter here, as Linux names them.
};

struct MemoryFacts {
  std::int64_t total_bytes = 0;
  std::int64_t available_bytes = 0;  ///< Without swapping.
  std::int64_t limit_bytes = 0;      ///< Of this process's control group; 0: none.
};

struct NvidiaDriverFacts {
  std::string version;            ///< Empty: no driver.
  std::vector<std::string> gpus;  ///< Their models.
};

/// Reads the text of /proc/cpuinfo.
[[nodiscard]] CpuFacts parse_cpuinfo(std::string_view text);
/// Reads the text of /proc/meminfo; no limit.
[[nodiscard]] MemoryFacts parse_meminfo(std::string_view text);

[[nodiscard]] CpuFacts cpu_facts();
[[nodiscard]] MemoryFacts memory_facts();
/// What the kernel's driver says; needs neither CUDA nor permission to use a device.
[[nodiscard]] NvidiaDriverFacts nvidia_driver_facts();

}  // namespace onebeat
