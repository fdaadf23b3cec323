// SPDX-License-Identifier: Apache-2.0
// HostBuffer: a large piece of host memory, such as a KV pool, in huge pages where the system has
// them.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "onebeat/status.h"

namespace onebeat {

/// Owns zeroed memory that begins at a multiple of 2 MiB. Movable. The system gives pages when they
/// are first written, so it costs what is used of it.
class HostBuffer {
 public:
  /// Errors: kResourceExhausted naming the size.
  [[nodiscard]] static Result<HostBuffer> create(std::size_t bytes);

  HostBuffer() = default;
  HostBuffer(HostBuffer&& other) noexcept
      : mapping_(std::exchange(other.mapping_, {})), bytes_(std::exchange(other.bytes_, {})) {}
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~HostBuffer();

  [[nodiscard]] std::byte* data() const { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> mapping_;
  std::span<std::byte> bytes_;
};

}  // namespace onebeat
