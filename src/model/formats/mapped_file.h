// SPDX-License-Identifier: Apache-2.0
// A whole file mapped read-only into memory: weights are used in place, and processes share the
// page cache.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "onebeat/status.h"

namespace onebeat {

/// Owns the mapping; moving it keeps the addresses. A file that somebody shortens while it is
/// mapped ends the process with SIGBUS on the next read beyond its new end: files of the cache are
/// replaced, never rewritten.
class MappedFile {
 public:
  /// Maps a regular file. Errors name the path: kNotFound, kUnavailable (permission, not a regular
  /// file), kDataLoss (empty), kResourceExhausted (no address space).
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// The file's bytes, starting at a page boundary; valid as long as this object.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

}  // namespace onebeat
