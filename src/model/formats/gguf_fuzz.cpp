// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: no bytes may make the GGUF reader, its getters or its tensors leave the file.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "model/formats/gguf.h"

namespace {

volatile unsigned g_sink = 0;  // Keeps the reads below alive.

void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte b : bytes) sum += std::to_integer<unsigned>(b);
  g_sink = g_sink + sum;
}

void touch(std::string_view text) {
  touch(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that the address sanitizer sees every step beyond it.
  const std::unique_ptr<std::byte[]> copy(new std::byte[size]);
  if (size != 0) std::memcpy(copy.get(), data, size);
  const auto file = onebeat::GgufFile::parse({copy.get(), size}, "fuzz");
  if (!file.ok()) return 0;
  for (const auto& entry : file->metadata()) {
    touch(entry.key);
    touch(entry.bytes);
    if (file->find(entry.key) != &entry) __builtin_trap();
    if (auto text = file->required<std::string_view>(entry.key); text.ok()) touch(*text);
    (void)file->required<std::uint32_t>(entry.key).ok();
    (void)file->required<float>(entry.key).ok();
    (void)file->required<bool>(entry.key).ok();
    (void)file->required<std::vector<std::int64_t>>(entry.key).ok();
    (void)file->required<std::vector<float>>(entry.key).ok();
    if (auto texts = file->required<std::vector<std::string_view>>(entry.key); texts.ok()) {
      for (const std::string_view text : *texts) touch(text);
    }
  }
  for (const auto& tensor : file->tensors()) {
    touch(tensor.name);
    touch(tensor.bytes);
    if (file->find_tensor(tensor.name) != &tensor) __builtin_trap();
  }
  return 0;
}
