// SPDX-License-Identifier: Apache-2.0
// Layout of a file: the header's size as a little-endian 64-bit number, the header as a JSON object
// {name: {dtype, shape, data_offsets: [begin, end)}}, then the data that the offsets count in.
// Invariant: no number of the file is used before it has been compared with the bytes that are
// there.
#include "model/formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/quoted.h"
#include "json/json.h"

namespace onebeat {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // The format's own limit.
constexpr std::size_t kMaxExtents = 8;
constexpr std::string_view kMetadata = "__metadata__";

std::optional<SafetensorsType> type_from_name(std::string_view name) {
  for (const auto type : {SafetensorsType::kF32, SafetensorsType::kF16, SafetensorsType::kBF16}) {
    if (to_string(type) == name) return type;
  }
  return std::nullopt;
}

/// A tensor as the header describes it.
struct Entry {
  SafetensorsTensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Result<std::string_view> header_text(std::span<const std::byte> bytes) {
  std::uint64_t size = 0;
  if (bytes.size() < sizeof(size)) {
    return data_loss("{} bytes are too short for a safetensors file", bytes.size());
  }
  std::memcpy(&size, bytes.data(), sizeof(size));
  if (size > kMaxHeaderBytes) {
    return data_loss("a header of {} bytes is stated; the limit is {} (is it a safetensors file?)",
                     size, kMaxHeaderBytes);
  }
  if (size > bytes.size() - sizeof(size)) {
    return data_loss("a header of {} bytes is stated, but the file ends after {}", size,
                     bytes.size() - sizeof(size));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(size),
                              static_cast<std::size_t>(size));
  if (!text.starts_with('{')) {
    return data_loss("the header starts with {}; it must be a JSON object",
                     quoted(text.substr(0, 1)));
  }
  return text;
}

Status check_metadata(JsonValue metadata) {
  if (!metadata.is(JsonKind::kObject)) {
    return data_loss("it is {}; it must be an object of strings", to_string(metadata.kind()));
  }
  for (std::size_t i = 0; i < metadata.size(); ++i) {
    if (!metadata.at(i).is(JsonKind::kString)) {
      return data_loss("{} is {}; it must be a string", quoted(metadata.name(i)),
                       to_string(metadata.at(i).kind()));
    }
  }
  return {};
}

Result<std::vector<std::uint64_t>> read_numbers(JsonValue object, std::string_view member) {
  const auto array = object.find(member);
  if (!array) return data_loss("{} is missing", quoted(member));
  if (!array->is(JsonKind::kArray)) {
    return data_loss("{} is {}; it must be an array", quoted(member), to_string(array->kind()));
  }
  if (array->size() > kMaxExtents) {
    return data_loss("{} has {} numbers; the limit is {}", quoted(member), array->size(),
                     kMaxExtents);
  }
  std::vector<std::uint64_t> numbers(array->size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto number = array->at(i).as<std::uint64_t>();
    if (!number.ok()) {
      return data_loss("{}: element {}: {}", quoted(member), i, number.status().message());
    }
    numbers[i] = *number;
  }
  return numbers;
}

/// Reads the description of a tensor and compares its size with its type and shape.
Status read_entry(JsonValue description, Entry& entry) {
  if (!description.is(JsonKind::kObject)) {
    return data_loss("it is {}; it must be an object", to_string(description.kind()));
  }
  for (std::size_t i = 0; i < description.size(); ++i) {
    const std::string_view key = description.name(i);
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return data_loss("{} is no part of the format", quoted(key));
    }
  }
  const auto dtype = description.required<std::string_view>("dtype");
  if (!dtype.ok()) return data_loss("{}", dtype.status().message());
  const auto type = type_from_name(*dtype);
  if (!type) {
    return unsupported("elements of type {} cannot be read; readable are F32, F16 and BF16",
                       quoted(*dtype));
  }
  entry.tensor.type = *type;
  ONEBEAT_ASSIGN_OR_RETURN(entry.tensor.shape, read_numbers(description, "shape"));
  ONEBEAT_ASSIGN_OR_RETURN(const auto offsets, read_numbers(description, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return data_loss("\"data_offsets\" must be two numbers, a begin and an end not before it");
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];

  std::uint64_t size = element_bytes(*type);
  entry.tensor.elements = 1;
  for (const std::uint64_t extent : entry.tensor.shape) {
    // The bytes are the larger product, so elements cannot overflow first.
    if (__builtin_mul_overflow(size, extent, &size) || size >> 63 != 0) {
      return data_loss("the product of the extents is beyond 2^63 bytes");
    }
    entry.tensor.elements *= extent;
  }
  if (size != entry.end - entry.begin) {
    return data_loss("{} elements of type {} take {} bytes, but the offsets {} to {} leave {}",
                     entry.tensor.elements, to_string(*type), size, entry.begin, entry.end,
                     entry.end - entry.begin);
  }
  return {};
}

/// Checks that the tensors fill the data exactly, and gives each its bytes.
Status place(std::vector<Entry>& entries, std::span<const std::byte> file, std::size_t data_begin) {
  const auto data = file.subspan(data_begin);
  std::vector<Entry*> by_offset;
  by_offset.reserve(entries.size());
  for (Entry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(), [](const Entry* a, const Entry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t filled = 0;
  for (Entry* entry : by_offset) {
    const std::string name = quoted(std::string_view(entry->tensor.name));
    if (entry->end > data.size()) {
      return data_loss(
          "tensor {}: offsets {} to {} reach past the {} bytes of data; the file is truncated or "
          "damaged",
          name, entry->begin, entry->end, data.size());
    }
    if (entry->begin < filled) {
      return data_loss("tensor {} at offset {} overlaps the one before it, which ends at {}", name,
                       entry->begin, filled);
    }
    if (entry->begin > filled) {
      return data_loss("bytes {} to {} of the data, before tensor {}, belong to no tensor", filled,
                       entry->begin, name);
    }
    filled = entry->end;
    const std::uint64_t alignment = element_bytes(entry->tensor.type);
    if ((data_begin + entry->begin) % alignment != 0) {
      return unsupported(
          "tensor {} starts at byte {} of the file, which is no multiple of its element's {}; save "
          "the model again with a current version of safetensors",
          name, data_begin + entry->begin, alignment);
    }
    entry->tensor.bytes = data.subspan(static_cast<std::size_t>(entry->begin),
                                       static_cast<std::size_t>(entry->end - entry->begin));
  }
  if (filled != data.size()) {
    return data_loss("the last {} bytes of the file belong to no tensor", data.size() - filled);
  }
  return {};
}

/// The entries of a header, sorted by name, as the members of a JSON object are.
Result<std::vector<Entry>> read_entries(JsonValue header) {
  std::vector<Entry> entries;
  entries.reserve(header.size());
  for (std::size_t i = 0; i < header.size(); ++i) {
    const std::string_view name = header.name(i);
    if (name == kMetadata) {
      ONEBEAT_RETURN_IF_ERROR(check_metadata(header.at(i)).with_context(kMetadata));
      continue;
    }
    if (name.empty()) return data_loss("a tensor has no name");
    Entry entry;
    entry.tensor.name = name;
    ONEBEAT_RETURN_IF_ERROR(read_entry(header.at(i), entry).with_context("tensor " + quoted(name)));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::string_view to_string(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::kF32:
      return "F32";
    case SafetensorsType::kF16:
      return "F16";
    case SafetensorsType::kBF16:
      return "BF16";
  }
  return "unknown";
}

std::uint64_t element_bytes(SafetensorsType type) {
  return type == SafetensorsType::kF32 ? 4 : 2;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  ONEBEAT_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  ONEBEAT_ASSIGN_OR_RETURN(SafetensorsFile file, parse(mapping.bytes(), path.string()));
  file.mapping_ = std::move(mapping);
  return file;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  ONEBEAT_CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 == 0);
  SafetensorsFile file;
  file.name_ = std::move(name);
  const auto read = [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const std::string_view text, header_text(bytes));
    JsonLimits limits;
    limits.max_bytes = kMaxHeaderBytes;
    limits.max_depth = 4;  // header, tensor, shape
    ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument header,
                             JsonDocument::parse(text, "the header", limits));
    ONEBEAT_ASSIGN_OR_RETURN(auto entries, read_entries(header.root()));
    ONEBEAT_RETURN_IF_ERROR(place(entries, bytes, sizeof(std::uint64_t) + text.size()));
    file.tensors_.reserve(entries.size());
    for (Entry& entry : entries) file.tensors_.push_back(std::move(entry.tensor));
    return {};
  };
  const Status status = read();
  if (!status.ok()) return status.with_context(file.name_);
  return file;
}

const SafetensorsTensor* SafetensorsFile::find_tensor(std::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const SafetensorsTensor& tensor, std::string_view wanted) {
                                        return tensor.name < wanted;
                                      });
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

}  // namespace onebeat
