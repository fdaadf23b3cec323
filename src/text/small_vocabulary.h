// SPDX-License-Identifier: Apache-2.0
// The vocabulary of 1,500 tokens in tests/golden/, for tests of everything that needs a tokenizer.
// For tests only.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/golden_ids.h"
#include "text/tokenizer.h"

namespace onebeat::testing {

/// Owns the texts that a spec borrows.
struct SmallVocabulary {
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<std::string> merges;

  SmallVocabulary() {
    for (auto& fields : golden_lines("tokenizer_small_vocabulary.txt")) {
      if (fields.at(0) == "merge") {
        merges.push_back(fields.at(1));
      } else {
        tokens.push_back(fields.at(1));
        types.push_back(fields.at(0) == "control" ? TokenType::kControl : TokenType::kNormal);
      }
    }
  }

  [[nodiscard]] std::int32_t id_of(std::string_view token) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == token) return static_cast<std::int32_t>(i);
    }
    throw std::runtime_error("no such token");
  }

  [[nodiscard]] TokenizerSpec spec(std::string_view rule) const {
    TokenizerSpec spec;
    spec.model = "gpt2";
    spec.pre_tokenizer = rule;
    spec.tokens.assign(tokens.begin(), tokens.end());
    spec.types = types;
    spec.merges.assign(merges.begin(), merges.end());
    spec.bos = id_of("<|im_start|>");
    spec.eos = id_of("<|im_end|>");
    return spec;
  }

  [[nodiscard]] Tokenizer tokenizer(std::string_view rule = "smollm") const {
    auto made = Tokenizer::make(spec(rule));
    if (!made.ok()) throw std::runtime_error(made.status().message());
    return std::move(made).value();
  }
};

}  // namespace onebeat::testing
