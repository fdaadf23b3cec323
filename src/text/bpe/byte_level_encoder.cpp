// SPDX-License-Identifier: Apache-2.0
#include "text/bpe/byte_level_encoder.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "base/error.h"

namespace onebeat {
namespace {

struct Free {
  void operator()(utf8proc_uint8_t* memory) const {
    std::free(memory);
  }  // NOLINT: utf8proc allocates with malloc
};

}  // namespace

Result<ByteLevelEncoder> ByteLevelEncoder::make(const TokenizerSpec& spec,
                                                const Vocabulary& vocabulary) {
  ONEBEAT_ASSIGN_OR_RETURN(const PreTokenizerRule* rule,
                           find_pre_tokenizer_rule(spec.pre_tokenizer));
  ONEBEAT_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::make(*rule));
  ONEBEAT_ASSIGN_OR_RETURN(MergeTable merges, MergeTable::make(vocabulary, spec.merges));
  return ByteLevelEncoder(vocabulary, *rule, std::move(pre_tokenizer), std::move(merges));
}

ByteLevelEncoder::ByteLevelEncoder(const Vocabulary& vocabulary, const PreTokenizerRule& rule,
                                   PreTokenizer pre_tokenizer, MergeTable merges)
    : vocabulary_(&vocabulary),
      rule_(&rule),
      pre_tokenizer_(std::move(pre_tokenizer)),
      merges_(std::move(merges)) {
  // Most pieces of a text are tokens. Where merging the bytes of a token gives the token back, a
  // look-up replaces it.
  MergeScratch scratch;
  std::vector<std::int32_t> ids;
  whole_.resize(static_cast<std::size_t>(vocabulary.size()));
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.find(vocabulary.bytes(id)) != id) continue;
    ids.clear();
    if (!rule.whole_words) merges_.encode(vocabulary.bytes(id), scratch, ids);
    whole_[static_cast<std::size_t>(id)] = rule.whole_words || (ids.size() == 1 && ids[0] == id);
  }
}

Status ByteLevelEncoder::Pass::encode(std::string_view segment, bool /*first*/,
                                      std::vector<std::int32_t>& ids) {
  std::unique_ptr<utf8proc_uint8_t, Free> composed;
  if (encoder_.rule_->compose) {
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t length =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(segment.data()),
                     static_cast<utf8proc_ssize_t>(segment.size()), &made,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (length < 0)
      return resource_exhausted("composing {} bytes of text: {}", segment.size(),
                                utf8proc_errmsg(length));
    composed.reset(made);
    segment = {reinterpret_cast<const char*>(made), static_cast<std::size_t>(length)};
  }
  cursor_.start(segment);
  std::string_view piece;
  while (true) {
    ONEBEAT_RETURN_IF_ERROR(cursor_.next(piece));
    if (piece.empty()) return {};
    const std::int32_t id = encoder_.vocabulary_->find(piece);
    if (id >= 0 && encoder_.whole_[static_cast<std::size_t>(id)]) {
      ids.push_back(id);
    } else {
      encoder_.merges_.encode(piece, scratch_, ids);
    }
  }
}

}  // namespace onebeat
