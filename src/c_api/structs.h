// SPDX-License-Identifier: Apache-2.0
// Reads and writes the structs of the C ABI that begin with their own size, and checks what C's
// types do not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "onebeat/onebeat.h"

namespace onebeat::c_api {

/// No struct of this ABI is or becomes longer: a larger `size` was never set.
inline constexpr std::uint32_t kLongestStruct = 4096;

inline Status check_pointer(const char* name, const void* pointer) {
  return pointer != nullptr ? Status() : invalid_argument("{} is null", name);
}

template <typename T>
Status check_size(const T* given, const char* name) {
  ONEBEAT_RETURN_IF_ERROR(check_pointer(name, given));
  if (given->size < sizeof(T) || given->size > kLongestStruct) {
    return invalid_argument(
        "size of {} is {}; this library's has {} bytes: make the struct with its init function",
        name, given->size, sizeof(T));
  }
  return {};
}

/// A copy of a struct that the caller gives. One of a later header is longer; then all that this
/// library does not know must be zero.
template <typename T>
Result<T> read_struct(const T* given, const char* name) {
  ONEBEAT_RETURN_IF_ERROR(check_size(given, name));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (!std::all_of(bytes + sizeof(T), bytes + given->size, [](auto byte) { return byte == 0; })) {
    return unsupported(
        "{} sets a field that this library (ABI {}) does not know: use a newer library", name,
        ONEBEAT_ABI_VERSION);
  }
  return *given;
}

/// Fills a struct of the caller's, keeping the size that it has; checked by check_size() before.
template <typename T>
void write_struct(const T& value, T* out) {
  const std::uint32_t size = out->size;
  auto* bytes = reinterpret_cast<unsigned char*>(out);
  std::memcpy(bytes, &value, sizeof(T));
  std::memset(bytes + sizeof(T), 0, size - sizeof(T));
  out->size = size;
}

/// A number that stands for one of `count` choices, counted from 0.
inline Status check_choice(const char* name, std::int32_t value, std::int32_t count) {
  if (value >= 0 && value < count) return {};
  return invalid_argument("{} is {}; it takes 0 to {}", name, value, count - 1);
}

/// `count` numbers or bytes behind a pointer.
inline Status check_array(const char* name, const void* data, std::int64_t count) {
  if (count < 0) return invalid_argument("{} has {} entries", name, count);
  if (data == nullptr && count > 0) {
    return invalid_argument("{} is null but claims {} entries", name, count);
  }
  return {};
}

/// A field that must stay 0 until a later version gives it a meaning.
inline Status check_reserved(const char* name, std::int64_t value) {
  if (value == 0) return {};
  return unsupported("the reserved field of {} is {}; this library (ABI {}) takes 0", name, value,
                     ONEBEAT_ABI_VERSION);
}

}  // namespace onebeat::c_api
