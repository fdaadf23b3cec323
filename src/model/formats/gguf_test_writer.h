// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files for tests: good ones, and, field by field, bad ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/formats/gguf.h"

namespace onebeat::testing {

/// Bytes appended field by field, little-endian.
class ByteWriter {
 public:
  template <typename T>
  ByteWriter& number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
    return *this;
  }
  ByteWriter& raw(std::string_view text) {
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), data, data + text.size());
    return *this;
  }
  ByteWriter& raw(const std::vector<std::byte>& data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    return *this;
  }
  ByteWriter& string(std::string_view text) { return number<std::uint64_t>(text.size()).raw(text); }
  ByteWriter& type(GgufType t) { return number(static_cast<std::uint32_t>(t)); }
  ByteWriter& pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// A tensor to write. Its offset and its number of type are the right ones unless overridden.
struct TensorToWrite {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;
};

/// Collects entries and tensors; `finish` lays them out. The public overrides make the header lie.
class GgufWriter {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint32_t layout_alignment =
      32;                          ///< What the layout uses; add "general.alignment" to state it.
  std::int64_t extra_entries = 0;  ///< Added to the stated count of metadata entries.
  std::int64_t extra_tensors = 0;  ///< Added to the stated count of tensors.
  bool force_offset = false;       ///< Gives every tensor `forced_offset`.
  std::uint64_t forced_offset = 0;
  bool force_type = false;  ///< Gives every tensor `forced_type`.
  std::uint32_t forced_type = 0;

  template <typename T>
  GgufWriter& add(std::string_view key, T value) {
    entry(key);
    if constexpr (std::is_same_v<T, bool>) {
      metadata_.type(GgufType::kBool).number<std::uint8_t>(value ? 1 : 0);
    } else {
      metadata_.type(type_of<T>()).number(value);
    }
    return *this;
  }
  GgufWriter& add(std::string_view key, std::string_view value) {
    entry(key).type(GgufType::kString).string(value);
    return *this;
  }
  GgufWriter& add(std::string_view key, const char* value) {
    return add(key, std::string_view(value));
  }
  GgufWriter& add(std::string_view key, const std::string& value) {
    return add(key, std::string_view(value));
  }
  template <typename T>
  GgufWriter& add(std::string_view key, const std::vector<T>& values) {
    entry(key).type(GgufType::kArray);
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      metadata_.type(GgufType::kString).number<std::uint64_t>(values.size());
      for (const auto& value : values) metadata_.string(value);
    } else {
      metadata_.type(type_of<T>()).template number<std::uint64_t>(values.size());
      for (const auto value : values) metadata_.number(value);
    }
    return *this;
  }
  /// An entry whose type number and value are the caller's bytes.
  GgufWriter& add_raw(std::string_view key, const ByteWriter& type_and_value) {
    entry(key).raw(type_and_value.bytes());
    return *this;
  }

  GgufWriter& add_tensor(TensorToWrite tensor) {
    tensors_.push_back(std::move(tensor));
    return *this;
  }
  GgufWriter& add_f32(std::string name, std::vector<std::uint64_t> shape,
                      const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return add_tensor({std::move(name), GgmlType::kF32, std::move(shape), std::move(bytes)});
  }

  [[nodiscard]] std::vector<std::byte> finish() const {
    ByteWriter out;
    out.raw(magic).number(version);
    out.number(tensors_.size() + static_cast<std::uint64_t>(extra_tensors));
    out.number(num_entries_ + static_cast<std::uint64_t>(extra_entries));
    out.raw(metadata_.bytes());
    std::uint64_t offset = 0;
    for (const TensorToWrite& tensor : tensors_) {
      out.string(tensor.name).number(static_cast<std::uint32_t>(tensor.shape.size()));
      for (const std::uint64_t extent : tensor.shape) out.number(extent);
      out.number(force_type ? forced_type : static_cast<std::uint32_t>(tensor.type));
      out.number(force_offset ? forced_offset : offset);
      offset += (tensor.bytes.size() + layout_alignment - 1) / layout_alignment * layout_alignment;
    }
    if (!tensors_.empty()) out.pad(layout_alignment);
    for (const TensorToWrite& tensor : tensors_) out.raw(tensor.bytes).pad(layout_alignment);
    return out.bytes();
  }

  void write(const std::string& path) const {
    const std::vector<std::byte> bytes = finish();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

 private:
  template <typename T>
  static constexpr GgufType type_of() {
    if constexpr (std::is_same_v<T, float>) return GgufType::kFloat32;
    if constexpr (std::is_same_v<T, double>) return GgufType::kFloat64;
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? GgufType::kInt8 : GgufType::kUint8;
    if constexpr (sizeof(T) == 2) return is_signed ? GgufType::kInt16 : GgufType::kUint16;
    if constexpr (sizeof(T) == 4) return is_signed ? GgufType::kInt32 : GgufType::kUint32;
    return is_signed ? GgufType::kInt64 : GgufType::kUint64;
  }
  ByteWriter& entry(std::string_view key) {
    ++num_entries_;
    return metadata_.string(key);
  }

  ByteWriter metadata_;
  std::uint64_t num_entries_ = 0;
  std::vector<TensorToWrite> tensors_;
};

}  // namespace onebeat::testing
