// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <cstdint>
#include <cstring>

namespace onebeat {
namespace {

struct SecondByte {
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
};

/// Length of the character that a lead byte begins; 0 if no character begins with it.
std::size_t length_of(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

/// Excludes overlong forms, surrogates and what is beyond U+10FFFF.
SecondByte second_byte(unsigned char lead) {
  switch (lead) {
    case 0xe0:
      return {0xa0, 0xbf};
    case 0xed:
      return {0x80, 0x9f};
    case 0xf0:
      return {0x90, 0xbf};
    case 0xf4:
      return {0x80, 0x8f};
    default:
      return {};
  }
}

}  // namespace

Utf8Sequence first_sequence(std::string_view text) {
  using Kind = Utf8Sequence::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = length_of(byte(0));
  if (length == 0) return {Kind::kInvalid, 1};
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Kind::kIncomplete, i};
    const SecondByte range = i == 1 ? second_byte(byte(0)) : SecondByte{};
    if (byte(i) < range.low || byte(i) > range.high) return {Kind::kInvalid, i};
  }
  return {Kind::kValid, length};
}

std::size_t valid_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    // Eight ASCII bytes at a time.
    std::uint64_t word = 0;
    while (text.size() - at >= sizeof(word)) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080U) != 0) break;
      at += sizeof(word);
    }
    if (at == text.size()) break;
    const Utf8Sequence sequence = first_sequence(text.substr(at));
    if (sequence.kind != Utf8Sequence::Kind::kValid) break;
    at += sequence.length;
  }
  return at;
}

std::size_t append_valid(std::string_view text, bool at_end, std::string& out) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t valid = valid_prefix(text.substr(at));
    out.append(text.substr(at, valid));
    at += valid;
    if (at == text.size()) break;
    const Utf8Sequence sequence = first_sequence(text.substr(at));
    if (sequence.kind == Utf8Sequence::Kind::kIncomplete && !at_end) break;
    out.append(kReplacement);
    at += sequence.length;
  }
  return at;
}

}  // namespace onebeat
