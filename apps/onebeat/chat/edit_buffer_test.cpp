// SPDX-License-Identifier: Apache-2.0
#include "chat/edit_buffer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace onebeat::cli {
namespace {

using Event = EditBuffer::Event;

/// What is left of `keys` once the buffer has taken them; `|` marks the cursor.
std::string typed(EditBuffer& buffer, const std::string& keys) {
  EXPECT_EQ(buffer.feed(keys, true), keys.size());
  return buffer.text().substr(0, buffer.cursor()) + "|" + buffer.text().substr(buffer.cursor());
}

std::string typed(const std::string& keys) {
  EditBuffer buffer;
  return typed(buffer, keys);
}

TEST(EditBuffer, MovesAndErasesWholeCharacters) {
  EXPECT_EQ(typed("aé日😀"), "aé日😀|");
  EXPECT_EQ(typed("aé日😀\x1b[D\x1b[D"), "aé|日😀");
  EXPECT_EQ(typed("aé日😀\x1b[D\x7f"), "aé|😀");
  EXPECT_EQ(typed("aé日\x1b[H\x1b[C\x1b[3~"), "a|日");
  EXPECT_EQ(typed("ab\x01x\x05y"), "xaby|");
  EXPECT_EQ(typed("one two  three\x17"), "one two  |");
  EXPECT_EQ(typed("one two\x1b[1;5D\x0b"), "one |");
  EXPECT_EQ(typed("one two\x1b[1;5D\x15"), "|two");
  EXPECT_EQ(typed("\x7f\x1b[D\x1b[C\x1b[3~\x17\x0b"), "|");
  EXPECT_EQ(typed("a\x1b[99~\x1b[1;2Zb\tc"), "abc|");
}

TEST(EditBuffer, EndsAtEnterAndKeepsTheRest) {
  EditBuffer buffer;
  EXPECT_EQ(buffer.feed("one\rtwo", false), 4u);
  EXPECT_EQ(buffer.event(), Event::kSubmit);
  EXPECT_EQ(buffer.text(), "one");
  buffer.start_over("one");
  EXPECT_EQ(buffer.feed("\x04", false), 1u);
  EXPECT_EQ(buffer.event(), Event::kEnd);
  EditBuffer other;
  EXPECT_EQ(typed(other, "ab\x1b[D\x04"), "a|");
  EXPECT_EQ(other.event(), Event::kNone);
}

TEST(EditBuffer, PastedLinesAreOneMessage) {
  EditBuffer buffer;
  EXPECT_EQ(typed(buffer,
                  "a \x1b[200~one\rtwo\r\n\tthr\x01"
                  "ee\x1b[201~ b"),
            "a one\ntwo\n\tthree b|");
  EXPECT_EQ(buffer.event(), Event::kNone);
  EXPECT_EQ(typed("one\x1b\rtwo"), "one\ntwo|");
}

TEST(EditBuffer, ControlKeysInterruptAndSuspend) {
  EditBuffer buffer;
  EXPECT_EQ(buffer.feed("ab\x03z", false), 3u);
  EXPECT_EQ(buffer.event(), Event::kInterrupt);
  EXPECT_EQ(buffer.feed("\x1b[200~c\x03", false), 8u);
  EXPECT_EQ(buffer.event(), Event::kInterrupt);
  buffer.start_over("");
  EXPECT_EQ(buffer.feed("d\x1a", false), 2u);
  EXPECT_EQ(buffer.event(), Event::kSuspend);
  EXPECT_EQ(buffer.text(), "d");
}

TEST(EditBuffer, WaitsForTheRestOfAKey) {
  EditBuffer buffer;
  EXPECT_EQ(buffer.feed("ab\x1b[", false), 2u);
  EXPECT_EQ(typed(buffer, "\x1b[Dc"), "ac|b");
  EXPECT_EQ(buffer.feed("\x1b", false), 0u);
  EXPECT_EQ(typed(buffer, "\x1b"), "ac|b");
}

TEST(EditBuffer, BringsBackEarlierLines) {
  EditBuffer buffer;
  for (const std::string line : {"one", "two", "two", ""}) buffer.start_over(line);
  EXPECT_EQ(typed(buffer, "dra\x1b[A"), "two|");
  EXPECT_EQ(typed(buffer, "\x1b[A"), "one|");
  EXPECT_EQ(typed(buffer, "\x1b[A"), "one|");
  EXPECT_EQ(typed(buffer, "!\x1b[B"), "two|");
  EXPECT_EQ(typed(buffer, "\x1b[B"), "dra|");
  EXPECT_EQ(typed(buffer, "\x1b[B"), "dra|");
}

TEST(EditBuffer, TakesAnyBytes) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    std::mt19937_64 random(seed);
    EditBuffer buffer;
    std::string pending;
    for (int i = 0; i < 200; ++i) {
      const char likely[] = "\x1b[\x1b[ABCD~3\x7f\x01\x05 a\xc3\xa9\r";
      pending +=
          random() % 4 == 0 ? static_cast<char>(random()) : likely[random() % (sizeof likely - 1)];
      pending.erase(0, buffer.feed(pending, random() % 5 == 0));
      if (buffer.event() != Event::kNone) buffer.start_over(buffer.text());
      ASSERT_LE(buffer.cursor(), buffer.text().size()) << "seed " << seed;
      const EditView view = view_of(buffer.text(), buffer.cursor(), 2, 40);
      ASSERT_LT(view.cursor_column, 41u) << "seed " << seed;
    }
  }
}

TEST(EditView, ShowsThePartAroundTheCursor) {
  const auto shown = [](std::string_view text, std::size_t cursor, std::size_t columns) {
    const EditView view = view_of(text, cursor, 2, columns);
    return view.shown + "@" + std::to_string(view.cursor_column);
  };
  EXPECT_EQ(shown("hello", 5, 80), "hello@7");
  EXPECT_EQ(shown("hello", 0, 80), "hello@2");
  EXPECT_EQ(shown("日本", 3, 80), "日本@4");
  EXPECT_EQ(shown("a\nb", 2, 80), "a↵b@4");
  EXPECT_EQ(shown("e\xcc\x81x", 3, 80), "e\xcc\x81x@3");  // A letter and an accent over it.
  EXPECT_EQ(shown("a\xff\xe6\x97", 4, 80), "a???@6");     // Broken characters.
  EXPECT_EQ(shown("a\xc2\x9b"
                  "b",
                  4, 80),
            "ab@4");  // A terminal's own command character.
  EXPECT_EQ(shown("0123456789abcdefghij", 20, 13), "abcdefghij@12");
  EXPECT_EQ(shown("0123456789abcdefghij", 0, 13), "0123456789@2");
  EXPECT_EQ(shown("0123456789abcdefghij", 12, 13), "23456789ab@12");
}

}  // namespace
}  // namespace onebeat::cli
