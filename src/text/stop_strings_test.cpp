// SPDX-License-Identifier: Apache-2.0
#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace onebeat {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::size_t> found;
  bool operator==(const Outcome&) const = default;
};

Outcome feed(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopStrings watch = StopStrings::make(stops).value();
  Outcome out;
  for (const auto& piece : pieces) out.found = watch.append(piece, out.text);
  watch.finish(out.text);
  return out;
}

/// The definition: the shortest prefix of the text that ends with a stop string, less the longest
/// of those.
Outcome naive(const std::vector<std::string>& stops, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      const bool ends = std::string_view(text).substr(0, end).ends_with(stops[i]);
      if (ends && (!best || stops[i].size() > stops[*best].size())) best = i;
    }
    if (best) return {text.substr(0, end - stops[*best].size()), best};
  }
  return {text, std::nullopt};
}

TEST(StopStrings, FindsThemAcrossPieces) {
  EXPECT_EQ(feed({"END"}, {"abE", "N", "Dxyz"}), (Outcome{"ab", 0}));
  EXPECT_EQ(feed({"END"}, {"abE", "Nope"}), (Outcome{"abENope", std::nullopt}));
  EXPECT_EQ(feed({"END"}, {"abEN"}), (Outcome{"abEN", std::nullopt}));
  EXPECT_EQ(feed({"\n\n", "User:"}, {"hi\n", "\nUser:"}), (Outcome{"hi", 0}));
  EXPECT_EQ(feed({"aab"}, {"aa", "ab"}), (Outcome{"a", 0}));
  EXPECT_EQ(feed({}, {"a", "b"}), (Outcome{"ab", std::nullopt}));
}

TEST(StopStrings, HoldsBackOnlyWhatMayBeginOne) {
  StopStrings watch = StopStrings::make({"stop", "top of"}).value();
  std::string text;
  EXPECT_FALSE(watch.append("a sto", text));
  EXPECT_EQ(text, "a ");
  EXPECT_FALSE(watch.append("ve", text));
  EXPECT_EQ(text, "a stove");
  EXPECT_TRUE(watch.append(" stop", text));
  EXPECT_EQ(text, "a stove ");
  EXPECT_TRUE(watch.append("ignored", text));
  watch.finish(text);
  EXPECT_EQ(text, "a stove ");
}

TEST(StopStrings, NeverSplitsACharacter) {
  StopStrings watch = StopStrings::make({"é!"}).value();
  std::string text;
  EXPECT_FALSE(watch.append("xé", text));
  EXPECT_EQ(text, "x");
  EXPECT_FALSE(watch.append("è", text));
  EXPECT_EQ(text, "xéè");
}

TEST(StopStrings, EqualsTheDefinitionHoweverTheTextIsCut) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto word = [&](std::size_t length) {
    std::string out(length, 'a');
    for (char& c : out) c = static_cast<char>('a' + random() % 2);
    return out;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (unsigned i = 0; i < random() % 4; ++i) {
      const std::string stop = word(1 + random() % 7);
      if (std::find(stops.begin(), stops.end(), stop) == stops.end()) stops.push_back(stop);
    }
    const std::string text = word(random() % 40);
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, random() % 5));
      at += pieces.back().size();
    }
    ASSERT_EQ(feed(stops, pieces), naive(stops, text)) << text;
  }
}

TEST(StopStrings, RefusesWhatCanNeverMatch) {
  EXPECT_EQ(StopStrings::make({"ok", ""}).status().message(), "stop string 2 is empty");
  EXPECT_EQ(StopStrings::make({"\xff"}).status().message(), "stop string 1 is not valid UTF-8");
  EXPECT_EQ(StopStrings::make({std::string(4097, 'x')}).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(StopStrings::make(std::vector<std::string>(65, "x")).status().code(),
            StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace onebeat
