// SPDX-License-Identifier: Apache-2.0
// prepare_step on a CUDA device: one launch, capturable in a graph; and the expand pass of
// speculative decoding.
#pragma once

#include <cstdint>

#include "onebeat/status.h"
#include "onebeat/step.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace onebeat {

/// Bits of the status word: what the device found wrong in numbers that the host could not see. The
/// step then ran with the numbers forced into their ranges, and nothing was read or written out of
/// bounds; new tokens without a sound slot have slot -1.
enum class StepFault : std::uint32_t {
  kLength = 1u << 16,       ///< A length outside [0, limit] or below its query tokens.
  kQueryTokens = 1u << 17,  ///< Query tokens outside [0, limit].
  kRow = 1u << 18,          ///< A row outside the page map.
  kSlot = 1u << 19,         ///< A new token's page outside the pool, or without a window slot.
  kUpdate = 1u << 20,       ///< A page update outside the page map; it was left out.
  kActive = 1u << 21,       ///< num_active outside [0, num_requests].
  kRoom = 1u << 22,         ///< More new tokens than an output has room for.
};

/// Kernels that prepare_step may choose from.
enum class StepKernels : std::uint8_t {
  /// The narrow ones where a step is of their kind: the same query tokens for all, and either
  /// plans but no tables, contiguous 32-bit lengths aligned to 16 bytes, at most 4,096 requests and
  /// 496 workers, costs that fit 32 bits; or tables but no plans, updates and numbers of new
  /// tokens, adjacent 32-bit entries, at most 1,024 requests. Else the general ones.
  kFastest,
  kGeneral,  ///< For comparisons; the bytes are the same.
};

/// How one launch is made.
struct StepLaunch {
  /// Device-accessible word that StepFault bits are or-ed into; null: faults go unreported.
  std::uint32_t* status = nullptr;
  /// Launched while the kernel before it on the stream still runs (programmatic dependent launch).
  /// The kernel always waits for its predecessors' completion before it reads or writes anything
  /// and lets its own dependents start right after.
  bool programmatic = false;
  StepKernels kernels = StepKernels::kFastest;
};

/// Launches prepare_step for one StepPlanner on the device that was current at create(). Immutable;
/// may be used from many threads and streams.
class CudaStepPreparer {
 public:
  /// `planner` must outlive the preparer. Errors: kUnavailable (no device), kUnsupported (more than
  /// 4,096 workers or a device without programmatic dependent launch).
  [[nodiscard]] static Result<CudaStepPreparer> create(const StepPlanner& planner);

  /// Enqueues the preparation of one step; all pointers in `step` are device memory. No
  /// synchronisation, no allocation. The same bytes as StepPlanner::prepare() for every step that
  /// it accepts.
  /// Errors: kInvalidArgument, kOutOfRange as StepPlanner::prepare(), as far as the host can see;
  /// then nothing is launched. CUDA's own failures.
  [[nodiscard]] Status prepare(const StepArguments& step, const StepLaunch& launch,
                               CUstream_st* stream) const;

  /// Whether prepare() takes the narrow kernels for this step (StepKernels::kFastest).
  [[nodiscard]] bool takes_narrow(const StepArguments& step) const;

 private:
  CudaStepPreparer() = default;
  const StepPlanner* planner_ = nullptr;
  std::int32_t multiprocessors_ = 1;
};

/// Enqueues the expand pass of speculative decoding, one launch; all pointers in `draft` are device
/// memory. The same numbers as prepare_draft_expand() for every pass that it accepts. Where that
/// one refuses what only the device can see, this one goes on in bounds and reports it in
/// launch.status: a last page length out of its range is forced into it (kLength), a number that is
/// no slot becomes page 0 (kSlot), pages beyond the table's columns are left out (kRoom). No
/// synchronisation, no allocation. Errors: kInvalidArgument, kOutOfRange for shapes; then nothing
/// is launched. CUDA's own failures.
[[nodiscard]] Status prepare_draft_expand_cuda(const DraftExpandArguments& draft,
                                               const StepLaunch& launch, CUstream_st* stream);

}  // namespace onebeat
