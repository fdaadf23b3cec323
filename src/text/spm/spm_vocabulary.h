// SPDX-License-Identifier: Apache-2.0
// The SentencePiece-style vocabularies of 1,200 tokens in tests/golden/. For tests only.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/golden_ids.h"
#include "text/tokenizer.h"

namespace onebeat::testing {

/// Owns the texts that a spec borrows. Style: "llama" (a space before the text) or "gemma".
struct SpmVocabulary {
  bool space_first;
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<float> scores;

  explicit SpmVocabulary(const std::string& style) : space_first(style == "llama") {
    for (auto& fields : golden_lines("tokenizer_spm_" + style + "_vocabulary.txt")) {
      types.push_back(static_cast<TokenType>(std::stoi(fields.at(0)) - 1));
      tokens.push_back(unescaped(fields.at(1)));
      scores.push_back(std::stof(fields.at(2)));
    }
  }

  [[nodiscard]] std::int32_t id_of(std::string_view token) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == token) return static_cast<std::int32_t>(i);
    }
    throw std::runtime_error("no such token");
  }

  [[nodiscard]] TokenizerSpec spec() const {
    TokenizerSpec spec;
    spec.model = "llama";
    spec.tokens.assign(tokens.begin(), tokens.end());
    spec.types = types;
    spec.scores = scores;
    spec.space_prefix = space_first ? SpacePrefix::kAlways : SpacePrefix::kNone;
    spec.unknown = id_of("<unk>");
    spec.bos = id_of("<s>");
    spec.eos = id_of("</s>");
    spec.add_bos = true;
    return spec;
  }

  [[nodiscard]] Tokenizer tokenizer() const {
    auto made = Tokenizer::make(spec());
    if (!made.ok()) throw std::runtime_error(made.status().message());
    return std::move(made).value();
  }
};

}  // namespace onebeat::testing
