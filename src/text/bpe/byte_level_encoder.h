// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE: text without special tokens to ids.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/bpe/merge_table.h"
#include "text/bpe/pre_tokenizer.h"
#include "text/tokenizer_spec.h"
#include "text/vocabulary.h"

namespace onebeat {

class ByteLevelEncoder {
 public:
  /// `vocabulary` must outlive the encoder. Errors: kUnsupported for the pre-tokenizer,
  /// kInvalidArgument for merges.
  static Result<ByteLevelEncoder> make(const TokenizerSpec& spec, const Vocabulary& vocabulary);

  /// One walk over a text, which may come in several segments; not shared between threads.
  class Pass {
   public:
    explicit Pass(const ByteLevelEncoder& encoder)
        : encoder_(encoder), cursor_(encoder.pre_tokenizer_) {}
    /// Appends the ids of a segment of valid UTF-8, shorter than 2^31 bytes; `first`, whether it
    /// begins the text, makes no difference.
    Status encode(std::string_view segment, bool first, std::vector<std::int32_t>& ids);

   private:
    const ByteLevelEncoder& encoder_;
    PieceCursor cursor_;
    MergeScratch scratch_;
  };

 private:
  ByteLevelEncoder(const Vocabulary& vocabulary, const PreTokenizerRule& rule,
                   PreTokenizer pre_tokenizer, MergeTable merges);

  const Vocabulary* vocabulary_;
  const PreTokenizerRule* rule_;
  PreTokenizer pre_tokenizer_;
  MergeTable merges_;
  std::vector<bool> whole_;  // By id: the merges make exactly this token of its bytes.
};

}  // namespace onebeat
