// SPDX-License-Identifier: Apache-2.0
// The bytes of a plan, on the host or on a device.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace onebeat::python {

/// Owns the bytes of one plan, 16-byte aligned.
class PlanMemory {
 public:
  /// `device`: kHost or a CUDA device. Throws what Python shows.
  PlanMemory(std::size_t bytes, int device);

  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  /// The bytes on the host: these, or a copy that `copy` holds; then it waits for `stream`.
  [[nodiscard]] std::span<const std::byte> on_host(std::vector<std::max_align_t>& copy,
                                                   void* stream) const;

 private:
  int device_;
  std::shared_ptr<std::byte> owner_;
  std::span<std::byte> bytes_;
};

}  // namespace onebeat::python
