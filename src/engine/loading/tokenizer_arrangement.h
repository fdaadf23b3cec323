// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json does to a text before it merges.
#pragma once

#include <string_view>

#include "json/json.h"
#include "onebeat/status.h"
#include "text/tokenizer_spec.h"

namespace onebeat {

struct TokenizerArrangement {
  /// SentencePiece-style: U+2581 stands for spaces, and bytes have tokens. Otherwise byte-level
  /// BPE.
  bool marks_spaces = false;
  std::string_view pre_tokenizer;                 ///< Of byte-level BPE: the name of its rule.
  SpacePrefix space_prefix = SpacePrefix::kNone;  ///< SentencePiece-style.
};

/// Recognises how the normalizer, the pre-tokenizer and the model of a tokenizer.json are arranged.
/// `model` is the member of `root`. Errors: kUnsupported names what is not known, kDataLoss and
/// kInvalidArgument what is damaged.
[[nodiscard]] Result<TokenizerArrangement> read_arrangement(JsonValue root, JsonValue model);

}  // namespace onebeat
