// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: no bytes may make the safetensors reader or its tensors leave the file.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "model/formats/safetensors.h"

namespace {
volatile unsigned g_sink = 0;  // Keeps the reads below alive.
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that the address sanitizer sees every step beyond it.
  const std::unique_ptr<std::byte[]> copy(new std::byte[size]);
  if (size != 0) std::memcpy(copy.get(), data, size);
  const auto file = onebeat::SafetensorsFile::parse({copy.get(), size}, "fuzz");
  if (!file.ok()) return 0;
  std::size_t covered = 0;
  for (const auto& tensor : file->tensors()) {
    unsigned sum = 0;
    for (const std::byte b : tensor.bytes) sum += std::to_integer<unsigned>(b);
    g_sink = g_sink + sum;
    covered += tensor.bytes.size();
    if (tensor.bytes.size() != tensor.elements * onebeat::element_bytes(tensor.type)) {
      __builtin_trap();
    }
    if (file->find_tensor(tensor.name) != &tensor) __builtin_trap();
  }
  if (covered >= size) __builtin_trap();  // The header takes at least ten bytes.
  return 0;
}
