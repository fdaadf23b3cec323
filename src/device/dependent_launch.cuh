// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch, the device's side. Both do nothing in an ordinary launch.
#pragma once

namespace onebeat::cuda {

/// Waits until the kernels that this launch depends on are complete and their writes visible.
__device__ __forceinline__ void wait_for_predecessors() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// Lets the next kernel's CTAs start; they still wait for this grid's completion.
__device__ __forceinline__ void let_dependents_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace onebeat::cuda
