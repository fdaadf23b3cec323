// SPDX-License-Identifier: Apache-2.0
// The tokenizer that a tokenizer.json describes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/tokenizer.h"

namespace onebeat {

/// What the files beside a tokenizer.json say about it; all may be left out.
struct TokenizerHints {
  std::string_view bos;                  ///< Text of the token that begins a sequence.
  std::string_view eos;                  ///< Text of the token that ends one.
  std::vector<std::int32_t> end_tokens;  ///< Further tokens at which generation ends.
  bool add_bos = false;                  ///< Whether the model expects `bos` before its input.
  std::int32_t vocabulary = 0;  ///< Ids that the model can give; those without a token are unused.
};

/// Makes the tokenizer of a tokenizer.json's text; `name` starts the messages. Byte-level BPE with
/// the pre-tokenizers that Tokenizer knows is read; ids that no token has become unused ones.
/// Errors: those of JsonDocument::parse and Tokenizer::make; kUnsupported naming another algorithm
/// or a part that would change the ids; kDataLoss or kInvalidArgument naming what does not fit
/// together.
[[nodiscard]] Result<Tokenizer> parse_tokenizer_json(std::string_view text, std::string_view name,
                                                     const TokenizerHints& hints = {});

/// Reads `folder`/tokenizer.json, with what tokenizer_config.json, generation_config.json and
/// config.json of the folder (if they are there) say about the tokens that begin and end. Errors:
/// those of MappedFile::open and parse_tokenizer_json. `vocabulary`: see TokenizerHints.
[[nodiscard]] Result<Tokenizer> make_tokenizer(const std::filesystem::path& folder,
                                               std::int32_t vocabulary = 0);

}  // namespace onebeat
