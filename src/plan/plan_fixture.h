// SPDX-License-Identifier: Apache-2.0
// What tests of plans share: aligned plan bytes, random geometries and random batches from a
// printed seed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "onebeat/plan.h"

namespace onebeat::plan_fixture {

/// 16-byte aligned bytes for one plan, filled with a sentinel.
class PlanBytes {
 public:
  explicit PlanBytes(std::size_t size) : words_(size / sizeof(PlanHeader) + 1), size_(size) {
    std::fill_n(reinterpret_cast<unsigned char*>(words_.data()), words_.size() * sizeof(PlanHeader),
                0xa5);
  }
  [[nodiscard]] std::span<std::byte> span() {
    return {reinterpret_cast<std::byte*>(words_.data()), size_};
  }

 private:
  std::vector<PlanHeader> words_;
  std::size_t size_;
};

struct Case {
  AttentionGeometry geometry;
  CostModel cost;
  PlanLimits limits;
  std::vector<std::int32_t> lens;
  std::vector<std::int32_t> query_tokens;

  [[nodiscard]] PlanBatch batch() const { return {lens, query_tokens}; }
};

class RandomCases {
 public:
  explicit RandomCases(std::uint64_t seed) : random_(seed) {}

  Case next() {
    Case c;
    AttentionGeometry& g = c.geometry;
    g.num_kv_heads = pick({1, 1, 2, 3, 8, 8, 16, 32});
    g.num_heads = g.num_kv_heads * pick({1, 2, 4, 5, 7, 8, 16});
    g.head_dim = g.head_dim_v = pick({64, 128, 256});
    g.page_tokens = pick({1, 16, 64});
    g.tile_tokens = pick({8, 16, 32, 64, 64, 128, 1024});
    g.workers = chance(8) ? uniform(1, 4096) : pick({1, 2, 3, 8, 64, 131, 132, 132, 264});
    g.max_query_tokens = pick({1, 1, 1, 2, 4, 8, 16});
    if (chance(3)) g.window_left = pick({0, 1, 63, 64, 127, 1023, 4095});
    if (chance(6)) g.chunk_tokens = pick({1, 64, 1000, 8192});
    if (chance(4)) g.invariant_chunk_tokens = g.tile_tokens * pick({1, 2, 4, 7});
    c.cost.segment_overhead = static_cast<std::uint32_t>(pick({1, 64, 128, 256, 1000}));
    c.cost.min_tiles = static_cast<std::uint32_t>(pick({1, 1, 2, 2, 3, 5, 8}));
    c.cost.min_worker_cost = static_cast<std::uint32_t>(pick({0, 0, 512, 4096}));
    const std::int32_t requests = chance(20) ? uniform(0, 2000) : uniform(0, 40);
    c.limits.max_requests = requests + uniform(0, 3);
    c.limits.max_context_tokens = chance(10) ? 2147483647 : 1 << 20;
    fill_lens(c, requests);
    if (chance(3)) fill_query_tokens(c);
    return c;
  }

  std::int32_t uniform(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }

 private:
  bool chance(std::int32_t of) { return uniform(1, of) == 1; }
  std::int32_t pick(std::initializer_list<std::int32_t> values) {
    return values.begin()[uniform(0, static_cast<std::int32_t>(values.size()) - 1)];
  }

  void fill_lens(Case& c, std::int32_t requests) {
    const std::int32_t kind = uniform(0, 4);
    const std::int32_t n = c.geometry.tile_tokens;
    for (std::int32_t r = 0; r < requests; ++r) {
      std::int32_t len = 0;
      switch (kind) {
        case 0:
          len = uniform(0, 4 * n);
          break;
        case 1:
          len = uniform(0, 1) * uniform(1, 100000);
          break;
        case 2:
          len = r == 0 ? 131072 : 512;
          break;
        case 3:
          len = pick({0, 1, n - 1, n, n + 1, 4097});
          break;
        default:
          len = 1 << uniform(0, 17);
          break;
      }
      if (len > 0) len = std::max(len, c.geometry.max_query_tokens);
      if (len > 0 && chance(50)) len = static_cast<std::int32_t>(c.limits.max_context_tokens);
      c.lens.push_back(len);
    }
  }

  void fill_query_tokens(Case& c) {
    for (std::size_t r = 0; r < c.lens.size(); ++r) {
      c.query_tokens.push_back(uniform(0, c.geometry.max_query_tokens));
    }
  }

  std::mt19937_64 random_;
};

}  // namespace onebeat::plan_fixture
