// SPDX-License-Identifier: Apache-2.0
// CUDA's errors as Status. An error that poisons the context (an illegal address, say) becomes
// kDeviceLost: nothing more can run. Others are cleared, so that the next call starts clean.
#pragma once

#include <cuda_runtime_api.h>

#include "onebeat/status.h"

namespace onebeat {

/// Success, or the failure with the name of the call that gave it.
[[nodiscard]] Status cuda_status(cudaError_t error, const char* call);

}  // namespace onebeat

/// Returns from the enclosing function if a CUDA call fails.
#define ONEBEAT_RETURN_IF_CUDA_ERROR(call) \
  ONEBEAT_RETURN_IF_ERROR(::onebeat::cuda_status((call), #call))
