// SPDX-License-Identifier: Apache-2.0
#include "text/bpe/merge_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "text/small_vocabulary.h"

namespace onebeat {
namespace {

using Ids = std::vector<std::int32_t>;

struct RandomMerges {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<int, std::int32_t>> rank_of;
};

/// Tokens over the letters a to d: each merge joins two earlier tokens; ranks are then shuffled, so
/// that a merge may be more urgent than one of its parts, as no trained model has it but a hostile
/// file may.
RandomMerges random_merges(std::mt19937& random) {
  RandomMerges out;
  out.tokens = {"a", "b", "c", "d"};
  std::map<std::string, std::int32_t> ids = {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}};
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  for (int i = 0; i < 40; ++i) {
    const auto left = static_cast<std::int32_t>(random() % out.tokens.size());
    const auto right = static_cast<std::int32_t>(random() % out.tokens.size());
    if (out.rank_of.contains({left, right})) continue;
    const std::string joined =
        out.tokens[static_cast<std::size_t>(left)] + out.tokens[static_cast<std::size_t>(right)];
    if (joined.size() > 12) continue;
    if (ids.emplace(joined, static_cast<std::int32_t>(out.tokens.size())).second)
      out.tokens.push_back(joined);
    out.rank_of[{left, right}] = {0, ids[joined]};
    pairs.emplace_back(left, right);
  }
  std::shuffle(pairs.begin(), pairs.end(), random);
  for (const auto& [left, right] : pairs) {
    out.rank_of[{left, right}].first = static_cast<int>(out.merges.size());
    out.merges.push_back(out.tokens[static_cast<std::size_t>(left)] + " " +
                         out.tokens[static_cast<std::size_t>(right)]);
  }
  return out;
}

/// The definition, word for word.
Ids naive_encode(const RandomMerges& merges, const std::string& word) {
  Ids ids;
  for (const char c : word) ids.push_back(c - 'a');
  while (true) {
    std::size_t best = ids.size();
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merges.rank_of.find({ids[i], ids[i + 1]});
      if (found == merges.rank_of.end()) continue;
      if (best == ids.size() ||
          found->second.first < merges.rank_of.at({ids[best], ids[best + 1]}).first)
        best = i;
    }
    if (best == ids.size()) return ids;
    ids[best] = merges.rank_of.at({ids[best], ids[best + 1]}).second;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(MergeTable, GivesWhatTheDefinitionGivesForShortAndLongWords) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  MergeScratch scratch;
  for (int round = 0; round < 300; ++round) {
    const RandomMerges merges = random_merges(random);
    TokenizerSpec spec;
    spec.tokens.assign(merges.tokens.begin(), merges.tokens.end());
    const Vocabulary vocabulary =
        Vocabulary::make(spec, Vocabulary::Spelling::kByteAlphabet).value();
    const std::vector<std::string_view> views(merges.merges.begin(), merges.merges.end());
    const auto table = MergeTable::make(vocabulary, views);
    ASSERT_TRUE(table.ok()) << to_string(table.status());
    for (const std::size_t length : {0U, 1U, 2U, 5U, 47U, 48U, 49U, 50U, 200U}) {
      std::string word(length, 'a');
      const unsigned letters = 1 + random() % 4;
      for (char& c : word) c = static_cast<char>('a' + random() % letters);
      Ids ids;
      table->encode(word, scratch, ids);
      ASSERT_EQ(ids, naive_encode(merges, word)) << word;
    }
  }
}

TEST(MergeTable, AppendsToWhatIsThere) {
  TokenizerSpec spec;
  spec.tokens = {"a", "b", "ab"};
  const Vocabulary vocabulary = Vocabulary::make(spec, Vocabulary::Spelling::kByteAlphabet).value();
  const std::vector<std::string_view> merges = {"a b"};
  const auto table = MergeTable::make(vocabulary, merges);
  MergeScratch scratch;
  Ids ids = {7};
  table->encode("ab", scratch, ids);
  std::string word;
  for (int i = 0; i < 60; ++i) word += "ab";
  table->encode(word, scratch, ids);
  Ids expected(62, 2);
  expected[0] = 7;
  EXPECT_EQ(ids, expected);
}

// A word of four megabytes: quadratic work here would take hours, not a moment.
TEST(MergeTable, TakesWordsOfMegabytes) {
  const testing::SmallVocabulary small;
  const Tokenizer tokenizer = small.tokenizer();
  std::mt19937 random(7);
  std::string word(4'000'000, 'a');
  for (char& c : word) c = static_cast<char>('a' + random() % 20);
  const auto ids = tokenizer.encode(word);
  ASSERT_TRUE(ids.ok());
  EXPECT_LT(ids->size(), word.size());
  EXPECT_EQ(tokenizer.decode(*ids).value(), word);
}

}  // namespace
}  // namespace onebeat
