// SPDX-License-Identifier: Apache-2.0
// Which devices this build has kernels for. Asked before a kernel is touched, so that a device
// without any is refused by name and not by CUDA's "no kernel image".
#pragma once

#include <string>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// Compute capability major.minor.
struct CudaCapability {
  int major = 0;
  int minor = 0;
};

/// Of the device that is current for this thread. Errors: kUnavailable (no device).
[[nodiscard]] Result<CudaCapability> current_capability();

/// Whether code built for `architectures`, in the words of CMake ("90a", "80,90a", "100-real"),
/// runs on a device. Code for one architecture runs on later ones of the same major number and,
/// where it was kept as PTX (no "-real"), on all later ones; with a letter ("90a") on that one
/// alone.
[[nodiscard]] bool architectures_serve(std::string_view architectures, CudaCapability device);

/// The architectures of this build: "sm_90a", "sm_80, sm_90a".
[[nodiscard]] std::string built_architectures();

/// Errors: kUnsupported, naming the capability and what is built.
[[nodiscard]] Status check_capability(CudaCapability device);

}  // namespace onebeat
