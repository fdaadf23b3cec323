// SPDX-License-Identifier: Apache-2.0
// Device memory that calls on one stream of one device share: scratch of split units, a plan, and
// the status word.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/cuda_memory.h"
#include "onebeat/attention.h"
#include "onebeat/plan.h"

namespace onebeat::python {

class Workspace {
 public:
  explicit Workspace(int device);

  /// The one of this stream, made if it has none. A stream that is being captured takes one that
  /// reserve() made. Throws ResourceExhaustedError if there is none.
  [[nodiscard]] static Workspace& of(int device, void* stream);
  /// Makes one, large enough for `scratch` and `plan_bytes`, that a later of() takes for a new
  /// stream.
  static void reserve(int device, const ScratchSize& scratch, std::size_t plan_bytes);
  /// Throws what a launch of any stream of the device has reported since the last call, and forgets
  /// it.
  static void raise_faults(int device);

  /// Scratch of at least this size; counters are zero. Grows only outside of a capture.
  [[nodiscard]] AttentionScratch scratch(const ScratchSize& size);
  [[nodiscard]] std::byte* plan(std::size_t bytes);
  /// The word that launches write faults into.
  [[nodiscard]] std::uint32_t* status() { return status_.data(); }

 private:
  void raise_if_faulty();
  void require_no_capture(const char* what) const;

  int device_;
  void* stream_ = nullptr;
  bool taken_ = false;
  DeviceBuffer<float> outputs_, stats_;
  DeviceBuffer<std::uint32_t> counters_;
  DeviceBuffer<std::byte> plan_;
  PinnedBuffer<std::uint32_t> status_;
  // What grew: captured graphs may still use the smaller ones.
  std::vector<DeviceBuffer<float>> retired_floats_;
  std::vector<DeviceBuffer<std::uint32_t>> retired_counters_;
  std::vector<DeviceBuffer<std::byte>> retired_plans_;
};

}  // namespace onebeat::python
