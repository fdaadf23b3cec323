// SPDX-License-Identifier: Apache-2.0
// SentencePiece-style BPE: a text is merged as a whole, starting from its characters; spaces are
// part of tokens, and characters without a token are spelled in byte tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/bpe/merge_loop.h"
#include "text/bpe/merge_table.h"
#include "text/tokenizer_spec.h"
#include "text/vocabulary.h"

namespace onebeat {

class SpmEncoder {
 public:
  /// `vocabulary` must outlive the encoder. What merges is said by spec.scores or, where they are
  /// empty, by spec.merges. Errors: kInvalidArgument for scores of another number or that are NaN,
  /// and for merges.
  static Result<SpmEncoder> make(const TokenizerSpec& spec, const Vocabulary& vocabulary);

  /// One walk over a text, which may come in several segments; not shared between threads.
  class Pass {
   public:
    explicit Pass(const SpmEncoder& encoder) : encoder_(encoder) {}
    /// Appends the ids of a segment of valid UTF-8, shorter than 2^31 bytes; `first`: it begins the
    /// text.
    Status encode(std::string_view segment, bool first, std::vector<std::int32_t>& ids);

   private:
    const SpmEncoder& encoder_;
    std::string text_;  // The segment with its prefix, and no marks.
    std::vector<MergeSymbol> symbols_;
    std::vector<std::uint32_t> begins_;  // By symbol: where it begins in text_.
    std::vector<std::uint64_t> queue_;

    void split(std::string_view segment, bool first);
    void append_ids(std::vector<std::int32_t>& ids) const;
  };

 private:
  explicit SpmEncoder(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {}
  [[nodiscard]] MergeOffer offer_by_score(std::string_view joined) const;

  const Vocabulary* vocabulary_;
  std::vector<std::uint32_t> ranks_;             // By id: the higher its score, the smaller.
  std::optional<MergeTable> merges_;             // Without scores.
  std::array<std::int32_t, 256> byte_tokens_{};  // -1 for bytes without a token.
  std::int32_t unknown_ = -1;
  SpacePrefix prefix_ = SpacePrefix::kNone;
};

}  // namespace onebeat
