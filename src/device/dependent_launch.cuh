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

/// Sends for a line of memory, and for the translation of its address. Allowed before the wait,
/// since nothing is read into a register. Null does nothing.
__device__ __forceinline__ void prefetch(const void* address) {
  if (address != nullptr) asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

}  // namespace onebeat::cuda
