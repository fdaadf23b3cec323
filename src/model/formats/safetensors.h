// SPDX-License-Identifier: Apache-2.0
// Reader of safetensors weights: one file, or a folder of shards with their index; used in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/formats/mapped_file.h"
#include "onebeat/status.h"

namespace onebeat {

/// Element types that can be read.
enum class SafetensorsType : std::uint8_t { kF32, kF16, kBF16 };

/// The format's name of a type, such as "BF16". Static storage.
[[nodiscard]] std::string_view to_string(SafetensorsType type);
/// Bytes of an element.
[[nodiscard]] std::uint64_t element_bytes(SafetensorsType type);

/// One tensor; its bytes lie in the file.
struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<std::uint64_t> shape;  ///< 0 to 8 extents, the slowest-running first; may hold 0.
  std::uint64_t elements = 0;        ///< The product of the extents.
  std::span<const std::byte> bytes;  ///< Exactly the elements; aligned to one element.
};

/// A checked safetensors file: every tensor lies inside the file, none overlap, no byte belongs to
/// nobody, names are unique and sizes fit types and shapes. Views stay valid as long as this object
/// (moving it keeps them).
class SafetensorsFile {
 public:
  /// Maps and checks a file. Errors: those of MappedFile::open; kDataLoss or kOutOfRange for a
  /// damaged or hostile file; kUnsupported for an element type that cannot be read, named. Messages
  /// start with the path.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// Checks bytes that the caller keeps alive; they start at a multiple of 8. `name` starts the
  /// messages.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string name);

  [[nodiscard]] const std::string& name() const { return name_; }
  /// All tensors, sorted by name.
  [[nodiscard]] std::span<const SafetensorsTensor> tensors() const { return tensors_; }
  /// The tensor, or nullptr.
  [[nodiscard]] const SafetensorsTensor* find_tensor(std::string_view name) const;

 private:
  SafetensorsFile() = default;

  MappedFile mapping_;  // Holds nothing if the bytes are the caller's.
  std::string name_;
  std::vector<SafetensorsTensor> tensors_;
};

/// The weights of a model: `model.safetensors`, or the shards that `model.safetensors.index.json`
/// names. Tensors stay valid as long as this object.
class SafetensorsModel {
 public:
  /// Opens a folder, or one .safetensors file. Errors: those of SafetensorsFile::open; kNotFound
  /// for a folder without weights or with a missing shard; kDataLoss for an index that leaves the
  /// folder or does not agree with the shards.
  static Result<SafetensorsModel> open(const std::filesystem::path& path);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::span<const SafetensorsFile> files() const { return files_; }
  /// All tensors of the model, sorted by name.
  [[nodiscard]] std::span<const SafetensorsTensor* const> tensors() const { return tensors_; }
  /// The tensor, or nullptr.
  [[nodiscard]] const SafetensorsTensor* find_tensor(std::string_view name) const;

 private:
  SafetensorsModel() = default;
  static Result<SafetensorsModel> open_single(const std::filesystem::path& path);
  static Result<SafetensorsModel> open_sharded(const std::filesystem::path& folder,
                                               const std::filesystem::path& index);

  std::string name_;
  std::vector<SafetensorsFile> files_;
  std::vector<const SafetensorsTensor*> tensors_;  // Into files_, whose heap memory stays in place.
};

}  // namespace onebeat
