// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

namespace onebeat {
namespace {

std::string lossy(std::string_view text) {
  std::string out;
  EXPECT_EQ(append_valid(text, true, out), text.size());
  return out;
}

std::string encoded(std::uint32_t c) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 0x3f))};
  if (c < 0x10000)
    return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f))};
  return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f)), byte(0x80 | (c >> 6 & 0x3f)),
          byte(0x80 | (c & 0x3f))};
}

TEST(Utf8, AcceptsEveryCharacterAndNoSurrogate) {
  for (std::uint32_t c = 0; c < 0x120000; ++c) {
    const std::string text = encoded(c);
    const bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
    ASSERT_EQ(valid_prefix(text) == text.size(), valid) << c;
    const Utf8Sequence sequence = first_sequence(text);
    ASSERT_EQ(sequence.kind == Utf8Sequence::Kind::kValid && sequence.length == text.size(), valid)
        << c;
    for (std::size_t cut = 1; valid && cut < text.size(); ++cut) {
      const Utf8Sequence part = first_sequence(std::string_view(text).substr(0, cut));
      ASSERT_EQ(part.kind, Utf8Sequence::Kind::kIncomplete) << c;
      ASSERT_EQ(part.length, cut);
    }
  }
}

TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string r(kReplacement);
  EXPECT_EQ(lossy("a\xff"
                  "b"),
            "a" + r + "b");
  EXPECT_EQ(lossy("\xe2\x82"), r);
  EXPECT_EQ(lossy("\xe2\x82x"), r + "x");
  EXPECT_EQ(lossy("\xe2(\xa1"), r + "(" + r);
  EXPECT_EQ(lossy("\xf0\x9f\x98\xf0\x9f\x98\x80"), r + "\xf0\x9f\x98\x80");
  EXPECT_EQ(lossy("\xc0\x80"), r + r);
  EXPECT_EQ(lossy("\xe0\x80\x80"), r + r + r);
  EXPECT_EQ(lossy("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(lossy("\xf4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(lossy("12345678\xc3\xa9"
                  "12345678\x80"
                  "12345678"),
            "12345678\xc3\xa9"
            "12345678" +
                r + "12345678");
}

TEST(Utf8, PiecewiseEqualsWhole) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr std::string_view kBytes =
      "ab\x80\xbf\xc3\xe2\x82\xac\xed\xa0\xf0\x9f\x98\x80\xf4\x90\xff";
  for (int round = 0; round < 5000; ++round) {
    std::string text(random() % 30, ' ');
    for (char& c : text) c = kBytes[random() % kBytes.size()];
    std::string waiting;
    std::string joined;
    for (const char c : text) {
      waiting.push_back(c);
      waiting.erase(0, append_valid(waiting, false, joined));
      ASSERT_LE(waiting.size(), 3U);
    }
    append_valid(waiting, true, joined);
    ASSERT_EQ(joined, lossy(text));
    ASSERT_EQ(valid_prefix(joined), joined.size());
  }
}

}  // namespace
}  // namespace onebeat
