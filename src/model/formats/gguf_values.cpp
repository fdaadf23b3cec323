// SPDX-License-Identifier: Apache-2.0
// The typed getters. The parser has verified that every value lies inside the file; here only types
// and ranges matter.
#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "model/formats/gguf.h"

namespace onebeat {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
constexpr std::string_view name_of() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, std::int32_t>) return "int32";
  if constexpr (std::is_same_v<T, std::uint32_t>) return "uint32";
  if constexpr (std::is_same_v<T, std::int64_t>) return "int64";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "uint64";
  if constexpr (std::is_floating_point_v<T>) return "float";
  if constexpr (std::is_same_v<T, std::string_view>) return "string";
}

template <typename T, typename Stored>
Status store_integer(Stored stored, T& out) {
  if (!std::in_range<T>(stored)) {
    return invalid_argument("{} does not fit in {}", stored, name_of<T>());
  }
  out = static_cast<T>(stored);
  return {};
}

template <typename T>
Status read_integer(GgufType type, const std::byte* at, T& out) {
  switch (type) {
    case GgufType::kUint8:
      return store_integer(unsigned{load<std::uint8_t>(at)}, out);
    case GgufType::kInt8:
      return store_integer(int{load<std::int8_t>(at)}, out);
    case GgufType::kUint16:
      return store_integer(unsigned{load<std::uint16_t>(at)}, out);
    case GgufType::kInt16:
      return store_integer(int{load<std::int16_t>(at)}, out);
    case GgufType::kUint32:
      return store_integer(load<std::uint32_t>(at), out);
    case GgufType::kInt32:
      return store_integer(load<std::int32_t>(at), out);
    case GgufType::kUint64:
      return store_integer(load<std::uint64_t>(at), out);
    case GgufType::kInt64:
      return store_integer(load<std::int64_t>(at), out);
    default:
      return invalid_argument("it is of type {}; {} is needed", to_string(type), name_of<T>());
  }
}

/// Reads one value that starts at `at` and moves `at` behind it.
template <typename T>
Status read_value(GgufType type, const std::byte*& at, T& out) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    if (type == GgufType::kString) {
      const auto length = static_cast<std::size_t>(load<std::uint64_t>(at));
      out = {reinterpret_cast<const char*>(at + 8), length};
      at += 8 + length;
      return {};
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    if (type == GgufType::kBool) {
      out = *at++ != std::byte{0};
      return {};
    }
  } else if constexpr (std::is_floating_point_v<T>) {
    if (type == GgufType::kFloat32) {
      out = T{load<float>(at)};
      at += 4;
      return {};
    }
    if (type == GgufType::kFloat64) {
      out = static_cast<T>(load<double>(at));
      at += 8;
      return {};
    }
  } else {
    ONEBEAT_RETURN_IF_ERROR(read_integer(type, at, out));
    switch (type) {
      case GgufType::kUint8:
      case GgufType::kInt8:
        at += 1;
        break;
      case GgufType::kUint16:
      case GgufType::kInt16:
        at += 2;
        break;
      case GgufType::kUint32:
      case GgufType::kInt32:
        at += 4;
        break;
      default:
        at += 8;
    }
    return {};
  }
  return invalid_argument("it is of type {}; {} is needed", to_string(type), name_of<T>());
}

/// Whether values of the file's type can become a T at all.
template <typename T>
bool convertible(GgufType type) {
  if constexpr (std::is_same_v<T, std::string_view>) return type == GgufType::kString;
  if constexpr (std::is_same_v<T, bool>) return type == GgufType::kBool;
  const bool floating = type == GgufType::kFloat32 || type == GgufType::kFloat64;
  if constexpr (std::is_floating_point_v<T>) return floating;
  return !floating && type != GgufType::kBool && type != GgufType::kString &&
         type != GgufType::kArray;
}

template <typename T>
Status read_entry(const GgufEntry& entry, T& out) {
  const std::byte* at = entry.bytes.data();
  return read_value(entry.type, at, out);
}

template <typename T>
Status read_entry(const GgufEntry& entry, std::vector<T>& out) {
  if (entry.type != GgufType::kArray) {
    return invalid_argument("it is of type {}; an array of {} is needed", to_string(entry.type),
                            name_of<T>());
  }
  if (!convertible<T>(entry.element_type)) {
    return invalid_argument("it is an array of {}; an array of {} is needed",
                            to_string(entry.element_type), name_of<T>());
  }
  // The parser holds the count to what fits in the file: at least one byte each, eight for strings.
  out.resize(static_cast<std::size_t>(entry.count));
  const std::byte* at = entry.bytes.data();
  for (T& element : out) {
    // Vocabularies have hundreds of thousands of elements: words only for a failure.
    const Status status = read_value(entry.element_type, at, element);
    if (!status.ok()) return status.with_context(fmt::format("element {}", &element - out.data()));
  }
  return {};
}

}  // namespace

std::string_view to_string(GgufType type) {
  constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                         "int32",  "float32", "bool",   "string", "array",
                                         "uint64", "int64",   "float64"};
  const auto number = static_cast<std::size_t>(type);
  return number < std::size(kNames) ? kNames[number] : "unknown";
}

template <typename T>
Result<T> GgufFile::required(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return not_found("{}: metadata {} is missing", name_, quoted(key));
  T value{};
  const Status status = read_entry(*entry, value);
  if (!status.ok()) return status.with_context(fmt::format("{}: metadata {}", name_, quoted(key)));
  return value;
}

#define ONEBEAT_GGUF_GETTER(T) template Result<T> GgufFile::required<T>(std::string_view) const
ONEBEAT_GGUF_GETTER(bool);
ONEBEAT_GGUF_GETTER(std::int32_t);
ONEBEAT_GGUF_GETTER(std::uint32_t);
ONEBEAT_GGUF_GETTER(std::int64_t);
ONEBEAT_GGUF_GETTER(std::uint64_t);
ONEBEAT_GGUF_GETTER(float);
ONEBEAT_GGUF_GETTER(double);
ONEBEAT_GGUF_GETTER(std::string_view);
ONEBEAT_GGUF_GETTER(std::vector<std::int32_t>);
ONEBEAT_GGUF_GETTER(std::vector<std::uint32_t>);
ONEBEAT_GGUF_GETTER(std::vector<std::int64_t>);
ONEBEAT_GGUF_GETTER(std::vector<std::uint64_t>);
ONEBEAT_GGUF_GETTER(std::vector<float>);
ONEBEAT_GGUF_GETTER(std::vector<double>);
ONEBEAT_GGUF_GETTER(std::vector<std::string_view>);
#undef ONEBEAT_GGUF_GETTER

}  // namespace onebeat
