// SPDX-License-Identifier: Apache-2.0
// Cuts a template into literal text and the tokens of its tags. Whitespace around tags is treated
// as Hugging Face's settings of Jinja do: trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat::jinja {

enum class TokenKind : std::uint8_t {
  kData,           ///< Literal text.
  kVariableBegin,  ///< {{
  kVariableEnd,    ///< }}
  kBlockBegin,     ///< {%
  kBlockEnd,       ///< %}
  kName,
  kString,    ///< `text` is the string without quotes and escapes.
  kInteger,   ///< `integer`
  kFloat,     ///< `number`
  kOperator,  ///< `text`
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
  std::int64_t integer = 0;
  double number = 0;
};

/// The tokens of a template, kEnd last. Errors: kInvalidArgument with the line.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace onebeat::jinja
