// SPDX-License-Identifier: Apache-2.0
#include "plan/reduction_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace onebeat {
namespace {

// The definition, by recursion from the top: an expression such as ((0+1)+2).
std::string value_of(std::uint32_t level, std::uint32_t index, ChunkRange request) {
  const std::uint64_t begin = static_cast<std::uint64_t>(index) << level;
  if (begin >= request.end || begin + (1ull << level) <= request.begin) return "";
  if (level == 0) return std::to_string(index);
  const std::string left = value_of(level - 1, 2 * index, request);
  const std::string right = value_of(level - 1, 2 * index + 1, request);
  if (left.empty()) return right;
  if (right.empty()) return left;
  return "(" + left + "+" + right + ")";
}

std::string value_of(ChunkRange request) {
  std::uint32_t level = 0;
  while ((1ull << level) < request.end) ++level;
  return value_of(level, 0, request);
}

struct Node {
  std::uint32_t begin;
  std::string value;
};

void push(std::vector<Node>& stack, Node node, std::uint32_t next, std::uint32_t run_begin,
          ChunkRange request) {
  stack.push_back(std::move(node));
  while (stack.size() >= 2) {
    const Node right = stack.back();
    Node& left = stack[stack.size() - 2];
    if (!tree_merges(left.begin, right.begin, next, run_begin, request)) break;
    left.value = "(" + left.value + "+" + right.value + ")";
    stack.pop_back();
  }
}

std::vector<Node> reduce_run(ChunkRange run, ChunkRange request) {
  std::vector<Node> stack;
  for (std::uint32_t c = run.begin; c < run.end; ++c) {
    push(stack, {c, std::to_string(c)}, c + 1, run.begin, request);
  }
  return stack;
}

// Divides the request at the cuts and reduces it as workers and their merger do.
std::string value_by_runs(ChunkRange request, std::vector<std::uint32_t> cuts) {
  cuts.push_back(request.end);
  std::vector<Node> stack;
  std::uint32_t begin = request.begin;
  for (const std::uint32_t cut : cuts) {
    const ChunkRange run{begin, cut};
    std::uint32_t node = begin;
    for (const Node& reduced : reduce_run(run, request)) {
      EXPECT_EQ(reduced.begin, node);
      const std::uint32_t end = tree_node_of_run(node, run, request);
      push(stack, reduced, end, request.begin, request);
      node = end;
    }
    EXPECT_EQ(node, cut);
    begin = cut;
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.back().value;
}

TEST(ReductionTree, BitWidth) {
  for (std::uint32_t x = 0; x < 70000; ++x) {
    std::uint32_t expected = 0;
    while ((static_cast<std::uint64_t>(x) >> expected) != 0) ++expected;
    ASSERT_EQ(bit_width_of(x), expected);
  }
  EXPECT_EQ(bit_width_of(0xffffffffu), 32u);
}

TEST(ReductionTree, OneRunGivesTheDefinition) {
  EXPECT_EQ(value_of(ChunkRange{0, 3}), "((0+1)+2)");
  EXPECT_EQ(value_of(ChunkRange{1, 4}), "(1+(2+3))");
  for (std::uint32_t begin = 0; begin < 34; ++begin) {
    for (std::uint32_t end = begin + 1; end < 70; ++end) {
      ASSERT_EQ(value_by_runs({begin, end}, {}), value_of(ChunkRange{begin, end}));
    }
  }
}

TEST(ReductionTree, EveryTwoCutsGiveTheSameValueAndKeepTheBounds) {
  for (std::uint32_t begin = 0; begin < 18; ++begin) {
    for (std::uint32_t end = begin + 2; end < 40; ++end) {
      const ChunkRange request{begin, end};
      const std::string expected = value_of(request);
      const auto bound = static_cast<std::size_t>(tree_nodes_per_slot(end));
      for (std::uint32_t a = begin + 1; a < end; ++a) {
        EXPECT_LE(reduce_run({begin, a}, request).size(), bound);
        EXPECT_LE(reduce_run({a, end}, request).size(), bound);
        for (std::uint32_t b = a + 1; b < end; ++b) {
          ASSERT_EQ(value_by_runs(request, {a, b}), expected);
          EXPECT_LE(reduce_run({a, b}, request).size(), 2 * bound);
        }
      }
    }
  }
}

TEST(ReductionTree, CountsTheNodesOfEveryRun) {
  for (std::uint32_t begin = 0; begin < 18; ++begin) {
    for (std::uint32_t end = begin + 1; end < 40; ++end) {
      const ChunkRange request{begin, end};
      for (std::uint32_t a = begin; a < end; ++a) {
        EXPECT_EQ(tree_nodes_of_run({a, a}, request), 0u);
        for (std::uint32_t b = a + 1; b <= end; ++b) {
          ASSERT_EQ(tree_nodes_of_run({a, b}, request), reduce_run({a, b}, request).size())
              << a << " to " << b << " of " << begin << " to " << end;
        }
      }
    }
  }
}

TEST(ReductionTree, RandomCutsOfLongRequests) {
  const auto seed = static_cast<unsigned>(std::random_device{}());
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) {
    return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random);
  };
  for (int i = 0; i < 400; ++i) {
    const std::uint32_t begin = below(2) == 0 ? 0 : below(2000);
    const ChunkRange request{begin, begin + 2 + below(1500)};
    std::vector<std::uint32_t> cuts(below(12));
    for (auto& cut : cuts) cut = request.begin + 1 + below(request.end - request.begin - 1);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    ASSERT_EQ(value_by_runs(request, cuts), value_of(request));
  }
}

TEST(ReductionTree, WorksAtTheEndOfTheNumbers) {
  const ChunkRange request{0xfffffff0u, 0xffffffffu};
  EXPECT_EQ(tree_node_end(0xfffffff8u, 3, request), 0xffffffffu);
  EXPECT_EQ(tree_node_of_run(0xfffffff0u, request, request), 0xffffffffu);
  EXPECT_EQ(tree_nodes_of_run({0xfffffff4u, 0xfffffffcu}, request), 2u);
  EXPECT_EQ(tree_nodes_of_run({0xfffffff4u, 0xffffffffu}, request), 2u);
  static_assert(tree_nodes_per_slot(1) == 1 && tree_nodes_per_slot(2) == 1 &&
                tree_nodes_per_slot(3) == 2 && tree_nodes_per_slot(1024) == 10 &&
                tree_nodes_per_slot(1025) == 11);
}

}  // namespace
}  // namespace onebeat
