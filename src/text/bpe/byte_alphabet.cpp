// SPDX-License-Identifier: Apache-2.0
// Bytes that print in Latin-1 (0x21 to 0x7e, 0xa1 to 0xac, 0xae to 0xff) are spelled as themselves;
// the other 68, in order, as U+0100 to U+0143. Source: the vocabulary of GPT-2.
#include "text/bpe/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace onebeat {
namespace {

constexpr std::size_t kCharacters = 0x144;

struct Alphabet {
  std::array<std::uint16_t, 256> character_of{};
  std::array<std::int16_t, kCharacters> byte_of{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of) byte = -1;
  std::uint16_t next = 0x100;
  for (std::uint16_t byte = 0; byte < 256; ++byte) {
    const bool prints =
        (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const std::uint16_t character = prints ? byte : next++;
    alphabet.character_of[byte] = character;
    alphabet.byte_of[character] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();
static_assert(kAlphabet.byte_of[0x120] == ' ' && kAlphabet.byte_of[kCharacters - 1] == 0xad);

}  // namespace

bool append_unspelled(std::string_view spelled, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::size_t i = 0; i < spelled.size();) {
    // Every character of the alphabet takes one or two bytes of UTF-8.
    const auto lead = static_cast<unsigned char>(spelled[i]);
    std::size_t character = lead;
    std::size_t length = 1;
    if (lead >= 0x80) {
      const auto next = i + 1 < spelled.size() ? static_cast<unsigned char>(spelled[i + 1]) : 0U;
      if ((lead & 0xe0) != 0xc0 || (next & 0xc0) != 0x80)
        character = kCharacters;
      else
        character = (lead & 0x1fU) << 6 | (next & 0x3fU);
      if (character < 0x80) character = kCharacters;  // overlong
      length = 2;
    }
    if (character >= kCharacters || kAlphabet.byte_of[character] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes.push_back(static_cast<char>(kAlphabet.byte_of[character]));
    i += length;
  }
  return true;
}

void append_spelled(std::string_view bytes, std::string& spelled) {
  for (const char c : bytes) {
    const std::uint16_t character = kAlphabet.character_of[static_cast<unsigned char>(c)];
    if (character < 0x80) {
      spelled.push_back(static_cast<char>(character));
    } else {
      spelled.push_back(static_cast<char>(0xc0 | character >> 6));
      spelled.push_back(static_cast<char>(0x80 | (character & 0x3f)));
    }
  }
}

}  // namespace onebeat
