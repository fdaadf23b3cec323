// SPDX-License-Identifier: Apache-2.0
// Reader of GGUF model files, versions 2 and 3, little-endian: typed metadata and tensors, used in
// place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/quoted.h"
#include "model/formats/ggml_type.h"
#include "model/formats/mapped_file.h"
#include "onebeat/status.h"

namespace onebeat {

/// Types of metadata values; the numbers are those of the file format.
enum class GgufType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// The format's name of a value type, such as "uint32".
[[nodiscard]] std::string_view to_string(GgufType type);

/// One metadata entry; its views point into the file.
struct GgufEntry {
  std::string_view key;
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  ///< Of an array; otherwise the same as `type`.
  std::uint64_t count = 1;                   ///< Elements of an array; otherwise 1.
  std::span<const std::byte> bytes;          ///< The encoded value: for arrays the elements alone.
};

/// One tensor; its views point into the file.
struct GgufTensor {
  std::string_view name;
  GgmlType type = GgmlType::kF32;
  std::vector<std::uint64_t> shape;  ///< 1 to 4 extents, all at least 1, the fastest-running first.
  std::uint64_t elements = 0;        ///< The product of the extents.
  std::span<const std::byte>
      bytes;  ///< Exactly the tensor's blocks; starts at the file's alignment.
};

/// A checked GGUF file. Everything in it is verified when it is opened, so that no later use can
/// leave the file: counts, lengths, offsets and products are checked, keys and names are unique,
/// tensors lie inside the file and do not overlap. Views stay valid as long as this object (moving
/// it keeps them).
class GgufFile {
 public:
  /// Maps and checks a file. Errors: those of MappedFile::open; kDataLoss for a damaged or hostile
  /// file; kUnsupported for another format, version, byte order or tensor type. Messages start with
  /// the path.
  static Result<GgufFile> open(const std::filesystem::path& path);

  /// Checks bytes that the caller keeps alive; they start at a multiple of 8. `name` starts the
  /// messages.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint32_t version() const { return version_; }
  /// Bytes; a power of two from 8 up.
  [[nodiscard]] std::uint32_t alignment() const { return alignment_; }

  /// All entries in the order of the file.
  [[nodiscard]] std::span<const GgufEntry> metadata() const { return metadata_; }
  /// The entry, or nullptr.
  [[nodiscard]] const GgufEntry* find(std::string_view key) const;

  /// The value of `key` as T: bool, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t,
  /// float, double, std::string_view, or a std::vector of one of these but bool. Any integer type
  /// of the file serves for an integer T that holds the value; either float type serves for float
  /// and double. Strings are views into the file. Errors: kNotFound without the key;
  /// kInvalidArgument where type or value do not fit, with both named.
  template <typename T>
  [[nodiscard]] Result<T> required(std::string_view key) const;

  /// The same, but `fallback` if there is no such key. A value that does not fit is still an error.
  template <typename T>
  [[nodiscard]] Result<T> optional(std::string_view key, T fallback) const {
    if (find(key) == nullptr) return fallback;
    return required<T>(key);
  }

  /// All tensors in the order of the file.
  [[nodiscard]] std::span<const GgufTensor> tensors() const { return tensors_; }
  /// The tensor, or nullptr.
  [[nodiscard]] const GgufTensor* find_tensor(std::string_view name) const;

 private:
  GgufFile() = default;

  MappedFile mapping_;  // Holds nothing if the bytes are the caller's.
  std::string name_;
  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> metadata_by_key_;  // Indices, sorted by key.
  std::vector<std::uint32_t> tensors_by_name_;  // Indices, sorted by name.
};

}  // namespace onebeat
