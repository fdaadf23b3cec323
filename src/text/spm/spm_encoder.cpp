// SPDX-License-Identifier: Apache-2.0
#include "text/spm/spm_encoder.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "text/spm/space_mark.h"
#include "text/utf8.h"

namespace onebeat {
namespace {

/// Smaller for higher scores, and never MergeOffer::kNoRank.
std::uint32_t rank_of_score(float score) {
  score += 0.0f;  // No -0.
  std::uint32_t bits = 0;
  std::memcpy(&bits, &score, sizeof bits);
  constexpr std::uint32_t kSign = 0x80000000U;
  const std::uint32_t ascending = (bits & kSign) != 0 ? ~bits : bits | kSign;
  return ~ascending;
}

bool begins_with_space(std::string_view text) {
  return text.starts_with(' ') || text.starts_with(kSpaceMark);
}

}  // namespace

Result<SpmEncoder> SpmEncoder::make(const TokenizerSpec& spec, const Vocabulary& vocabulary) {
  SpmEncoder encoder(vocabulary);
  if (spec.scores.empty() && !spec.merges.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(encoder.merges_, MergeTable::make(vocabulary, spec.merges));
  } else {
    if (spec.scores.size() != spec.tokens.size()) {
      return invalid_argument("the vocabulary has {} tokens but {} scores", spec.tokens.size(),
                              spec.scores.size());
    }
    encoder.ranks_.reserve(spec.scores.size());
    for (std::size_t id = 0; id < spec.scores.size(); ++id) {
      if (std::isnan(spec.scores[id])) return invalid_argument("the score of token {} is NaN", id);
      encoder.ranks_.push_back(rank_of_score(spec.scores[id]));
    }
  }
  encoder.byte_tokens_.fill(-1);
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.type(id) != TokenType::kByte) continue;
    encoder.byte_tokens_[static_cast<unsigned char>(vocabulary.bytes(id)[0])] = id;
  }
  if (spec.unknown) {
    if (!vocabulary.contains(*spec.unknown)) {
      return invalid_argument("the token for what has none is {}; ids are 0 to {}", *spec.unknown,
                              vocabulary.size() - 1);
    }
    encoder.unknown_ = *spec.unknown;
  }
  encoder.prefix_ = spec.space_prefix;
  return encoder;
}

MergeOffer SpmEncoder::offer_by_score(std::string_view joined) const {
  if (joined.size() > vocabulary_->longest()) return {};
  const std::int32_t id = vocabulary_->find(joined);
  return id < 0 ? MergeOffer() : MergeOffer{ranks_[static_cast<std::size_t>(id)], id};
}

Status SpmEncoder::Pass::encode(std::string_view segment, bool first,
                                std::vector<std::int32_t>& ids) {
  if (segment.empty()) return {};
  split(segment, first);
  const auto at = [](std::int32_t place) { return static_cast<std::size_t>(place); };
  if (encoder_.merges_) {
    merge_symbols(symbols_, queue_, [&](std::int32_t left, std::int32_t right) {
      return encoder_.merges_->offer(symbols_[at(left)].id, symbols_[at(right)].id);
    });
  } else {
    const std::string_view text = text_;
    merge_symbols(symbols_, queue_, [&](std::int32_t left, std::int32_t right) {
      const std::int32_t behind = symbols_[at(right)].next;
      const std::size_t end = behind < 0 ? text.size() : begins_[at(behind)];
      return encoder_.offer_by_score(text.substr(begins_[at(left)], end - begins_[at(left)]));
    });
  }
  append_ids(ids);
  return {};
}

void SpmEncoder::Pass::split(std::string_view segment, bool first) {
  text_.clear();
  const SpacePrefix prefix = encoder_.prefix_;
  const bool there = prefix != SpacePrefix::kAlways && begins_with_space(segment);
  const bool wanted = prefix != SpacePrefix::kNone && (prefix != SpacePrefix::kFirst || first);
  if (wanted && !there) text_.push_back(' ');
  append_unmarked(segment, text_);

  symbols_.clear();
  begins_.clear();
  const std::string_view text = text_;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = first_sequence(text.substr(i, 4)).length;
    const auto place = static_cast<std::int32_t>(symbols_.size());
    symbols_.push_back(
        {encoder_.vocabulary_->find(text.substr(i, length)), {}, place - 1, place + 1});
    begins_.push_back(static_cast<std::uint32_t>(i));
    i += length;
  }
  symbols_.back().next = -1;
}

void SpmEncoder::Pass::append_ids(std::vector<std::int32_t>& ids) const {
  bool unknown_before = false;
  for (std::int32_t place = 0; place >= 0;) {
    const auto i = static_cast<std::size_t>(place);
    const MergeSymbol& symbol = symbols_[i];
    place = symbol.next;
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
      unknown_before = false;
      continue;
    }
    const std::size_t end = place < 0 ? text_.size() : begins_[static_cast<std::size_t>(place)];
    const std::size_t before = ids.size();
    bool spelled = true;
    for (std::size_t byte = begins_[i]; byte < end; ++byte) {
      const std::int32_t id = encoder_.byte_tokens_[static_cast<unsigned char>(text_[byte])];
      spelled = spelled && id >= 0;
      ids.push_back(id);
    }
    if (!spelled) {
      // A run of characters that cannot be spelled is one unknown token.
      ids.resize(before);
      if (!unknown_before && encoder_.unknown_ >= 0) ids.push_back(encoder_.unknown_);
    }
    unknown_before = !spelled;
  }
}

}  // namespace onebeat
