// SPDX-License-Identifier: Apache-2.0
#include "engine/loading/tokenizer_from_gguf.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/loading/end_texts.h"

namespace onebeat {
namespace {

Result<TokenType> token_type(std::int32_t number) {
  constexpr auto kTypes =
      std::to_array<TokenType>({TokenType::kNormal, TokenType::kUnknown, TokenType::kControl,
                                TokenType::kUserDefined, TokenType::kUnused, TokenType::kByte});
  if (number < 1 || number > static_cast<std::int32_t>(kTypes.size())) {
    return data_loss("metadata \"tokenizer.ggml.token_type\" has {}; known are 1 to {}", number,
                     kTypes.size());
  }
  return kTypes[static_cast<std::size_t>(number - 1)];
}

Result<std::vector<TokenType>> token_types(const GgufFile& file) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto numbers, file.optional<std::vector<std::int32_t>>(
                                                   "tokenizer.ggml.token_type", {}));
  std::vector<TokenType> types;
  types.reserve(numbers.size());
  for (const std::int32_t number : numbers) {
    const Result<TokenType> type = token_type(number);
    if (!type.ok()) return type.status().with_context(file.name());
    types.push_back(*type);
  }
  return types;
}

Result<std::optional<std::int32_t>> token_id(const GgufFile& file, std::string_view key) {
  if (file.find(key) == nullptr) return std::optional<std::int32_t>();
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t id, file.required<std::int32_t>(key));
  return std::optional(id);
}

Result<TokenizerSpec> read_spec(const GgufFile& file) {
  using Strings = std::vector<std::string_view>;
  TokenizerSpec spec;
  ONEBEAT_ASSIGN_OR_RETURN(spec.model, file.required<std::string_view>("tokenizer.ggml.model"));
  ONEBEAT_ASSIGN_OR_RETURN(spec.pre_tokenizer,
                           file.optional<std::string_view>("tokenizer.ggml.pre", "default"));
  ONEBEAT_ASSIGN_OR_RETURN(spec.tokens, file.required<Strings>("tokenizer.ggml.tokens"));
  ONEBEAT_ASSIGN_OR_RETURN(spec.types, token_types(file));
  ONEBEAT_ASSIGN_OR_RETURN(spec.merges, file.optional<Strings>("tokenizer.ggml.merges", {}));
  ONEBEAT_ASSIGN_OR_RETURN(spec.bos, token_id(file, "tokenizer.ggml.bos_token_id"));
  ONEBEAT_ASSIGN_OR_RETURN(spec.eos, token_id(file, "tokenizer.ggml.eos_token_id"));
  // SentencePiece models have the space and the begin token where their files do not say.
  const bool spm = spec.model == "llama";
  ONEBEAT_ASSIGN_OR_RETURN(spec.add_bos, file.optional<bool>("tokenizer.ggml.add_bos_token",
                                                             spm && spec.bos.has_value()));
  if (spm) {
    ONEBEAT_ASSIGN_OR_RETURN(spec.scores,
                             file.required<std::vector<float>>("tokenizer.ggml.scores"));
    ONEBEAT_ASSIGN_OR_RETURN(spec.unknown, token_id(file, "tokenizer.ggml.unknown_token_id"));
    ONEBEAT_ASSIGN_OR_RETURN(const bool space,
                             file.optional<bool>("tokenizer.ggml.add_space_prefix", true));
    spec.space_prefix = space ? SpacePrefix::kAlways : SpacePrefix::kNone;
    spec.merges.clear();
  }
  for (const std::string_view key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto id, token_id(file, key));
    if (id) spec.end_tokens.push_back(*id);
  }
  for (std::size_t id = 0; id < spec.types.size() && id < spec.tokens.size(); ++id) {
    const bool ends =
        std::find(kEndTexts.begin(), kEndTexts.end(), spec.tokens[id]) != kEndTexts.end();
    if (ends && spec.types[id] == TokenType::kControl)
      spec.end_tokens.push_back(static_cast<std::int32_t>(id));
  }
  return spec;
}

}  // namespace

Result<Tokenizer> make_tokenizer(const GgufFile& file) {
  ONEBEAT_ASSIGN_OR_RETURN(const TokenizerSpec spec, read_spec(file));
  Result<Tokenizer> tokenizer = Tokenizer::make(spec);
  if (!tokenizer.ok()) return tokenizer.status().with_context(file.name());
  return tokenizer;
}

}  // namespace onebeat
