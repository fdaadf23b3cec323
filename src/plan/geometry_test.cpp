// SPDX-License-Identifier: Apache-2.0
#include "onebeat/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

namespace onebeat {
namespace {

AttentionGeometry llama() {
  AttentionGeometry g;
  g.num_heads = 32;
  g.num_kv_heads = 8;
  g.head_dim = g.head_dim_v = 128;
  g.workers = 132;
  return g;
}

TEST(HeadsOfRank, DividesAndRepeatsHeads) {
  EXPECT_EQ(*heads_of_rank({32, 8}, 4), (HeadCounts{8, 2}));
  EXPECT_EQ(*heads_of_rank({32, 8}, 1), (HeadCounts{32, 8}));
  EXPECT_EQ(*heads_of_rank({32, 8}, 16), (HeadCounts{2, 1}));  // each KV head on two ranks
  EXPECT_EQ(*heads_of_rank({16, 8}, 8), (HeadCounts{2, 1}));
}

TEST(HeadsOfRank, RefusesWhatDoesNotDivide) {
  for (const auto& [model, ranks] : std::vector<std::pair<HeadCounts, int>>{{{32, 8}, 3},
                                                                            {{32, 8}, 64},
                                                                            {{32, 6}, 2},
                                                                            {{36, 6}, 4},
                                                                            {{32, 8}, 0},
                                                                            {{0, 8}, 1},
                                                                            {{8, 0}, 1},
                                                                            {{32, 8}, -1}}) {
    EXPECT_FALSE(heads_of_rank(model, ranks).ok())
        << model.num_heads << "/" << model.num_kv_heads << " over " << ranks;
  }
}

TEST(Geometry, AcceptsWhatModelsHave) {
  EXPECT_TRUE(validate(llama()).ok());
}

TEST(Geometry, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<const char*, std::function<void(AttentionGeometry&)>>> faults = {
      {"num_heads", [](auto& g) { g.num_heads = 0; }},
      {"num_kv_heads", [](auto& g) { g.num_kv_heads = -8; }},
      {"num_kv_heads", [](auto& g) { g.num_kv_heads = 5; }},
      {"head_dim ", [](auto& g) { g.head_dim = 100; }},
      {"head_dim_v", [](auto& g) { g.head_dim_v = 1024; }},
      {"page_tokens", [](auto& g) { g.page_tokens = 48; }},
      {"page_tokens", [](auto& g) { g.page_tokens = 0; }},
      {"tile_tokens", [](auto& g) { g.tile_tokens = 4; }},
      {"workers", [](auto& g) { g.workers = 4097; }},
      {"workers", [](auto& g) { g.workers = 0; }},
      {"max_query_tokens", [](auto& g) { g.max_query_tokens = 17; }},
      {"window_left", [](auto& g) { g.window_left = -2; }},
      {"chunk_tokens", [](auto& g) { g.chunk_tokens = -1; }},
      {"invariant_chunk_tokens", [](auto& g) { g.invariant_chunk_tokens = 100; }},
  };
  for (const auto& [name, fault] : faults) {
    AttentionGeometry g = llama();
    fault(g);
    const Status status = validate(g);
    EXPECT_FALSE(status.ok()) << name;
    EXPECT_THAT(status.message(), ::testing::HasSubstr(name));
  }
}

TEST(PlanStamp, DiffersWithEveryPartitionField) {
  const std::vector<std::function<void(AttentionGeometry&)>> changes = {
      [](auto&) {},
      [](auto& g) { g.num_heads = 64; },
      [](auto& g) { g.num_kv_heads = 1; },
      [](auto& g) { g.head_dim = 64; },
      [](auto& g) { g.head_dim_v = 64; },
      [](auto& g) { g.page_tokens = 64; },
      [](auto& g) { g.tile_tokens = 128; },
      [](auto& g) { g.workers = 131; },
      [](auto& g) { g.window_left = 0; },
      [](auto& g) { g.chunk_tokens = 1; },
      [](auto& g) { g.max_query_tokens = 2; },
      [](auto& g) { g.invariant_chunk_tokens = 64; },
      [](auto& g) { g.causal = false; },
      [](auto& g) { g.kv_type = KvType::kF16; },
  };
  std::set<std::uint32_t> stamps;
  for (const auto& change : changes) {
    AttentionGeometry g = llama();
    change(g);
    const std::uint32_t stamp = plan_stamp(g);
    EXPECT_NE(stamp, 0u);
    EXPECT_EQ(stamp, plan_stamp(g));
    stamps.insert(stamp);
  }
  EXPECT_EQ(stamps.size(), changes.size());
}

}  // namespace
}  // namespace onebeat
