// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: no text may harm the reader of tokenizer.json, and what it makes must work.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/loading/tokenizer_from_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = onebeat::parse_tokenizer_json(text, "fuzz");
  if (!tokenizer.ok()) return 0;
  for (const bool special : {false, true}) {
    const auto ids = tokenizer->encode("ab <|im_end|> 12\n", {.parse_special = special});
    if (!ids.ok()) __builtin_trap();
    if (!tokenizer->decode(*ids).ok()) __builtin_trap();
  }
  return 0;
}
