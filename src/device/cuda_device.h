// SPDX-License-Identifier: Apache-2.0
// What a CUDA device is and how fast it reads: the limit that every GPU benchmark is measured
// against.
#pragma once

#include <cstddef>
#include <string>

#include "onebeat/status.h"

namespace onebeat {

struct CudaDeviceFacts {
  std::string name;
  int compute_major = 0;
  int compute_minor = 0;
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t memory_free_bytes = 0;
  std::size_t l2_bytes = 0;
  std::size_t shared_bytes_per_block = 0;  ///< Opt-in limit.
  int driver_version = 0;  ///< 1000 * major + 10 * minor, of CUDA that the driver supports.
  int runtime_version = 0;
};

/// Makes `device` current for this thread. Errors: kUnavailable (no GPU, too old a driver, no such
/// device).
[[nodiscard]] Result<CudaDeviceFacts> use_cuda_device(int device);

}  // namespace onebeat
