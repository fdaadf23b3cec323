// SPDX-License-Identifier: Apache-2.0
// What may be written to a terminal of texts that a model or a file made.
#pragma once

#include <string>
#include <string_view>

namespace onebeat::cli {

/// `text`, which is UTF-8 in whole characters, without the control characters that a terminal would
/// take for commands.
[[nodiscard]] inline std::string without_controls(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool two_bytes = byte == 0xc2 && i + 1 < text.size() &&
                           static_cast<unsigned char>(text[i + 1]) < 0xa0;  // U+0080 to U+009F
    if (two_bytes) {
      ++i;
    } else if ((byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\t') {
      out += text[i];
    }
  }
  return out;
}

}  // namespace onebeat::cli
