// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "attention/merge_batch_for_test.h"
#include "attention/poisoned_batch_for_test.h"

namespace onebeat {
namespace {

std::string name_of(const MergeOptions& o, int threads) {
  return "type " + std::to_string(static_cast<int>(o.type)) + ", " + std::to_string(o.states) +
         " states, seed " + std::to_string(o.seed) + ", threads " + std::to_string(threads);
}

TEST(MergeStates, AgreesWithDoublePrecision) {
  for (const MergeOptions& options : merge_cases()) {
    for (const int threads : {1, 3}) {
      MergeBatch batch(options);
      std::vector<std::byte> rows = batch.rows;
      std::vector<float> lse = batch.lse;
      const auto pool = make_pool_for_test(threads);
      const Status status =
          merge_states(batch.merge(rows.data(), lse.data(), options.states,
                                   batch.sinks.empty() ? nullptr : batch.sinks.data()),
                       *pool);
      ASSERT_TRUE(status.ok()) << to_string(status);
      batch.expect(rows, lse, options.states, name_of(options, threads));
      if (HasFatalFailure()) return;
      // States are as they were.
      const std::size_t kept =
          options.states * batch.row_elements * static_cast<std::size_t>(size_of(options.type));
      ASSERT_TRUE(std::equal(rows.data(), rows.data() + kept, batch.rows.data()));
    }
  }
}

TEST(MergeStates, InPlaceOfAnyStateGivesTheSame) {
  const auto pool = make_pool_for_test(2);
  for (const RowType type : {RowType::kF32, RowType::kF16, RowType::kBF16}) {
    for (std::size_t to = 0; to < 3; ++to) {
      MergeBatch batch({.type = type, .states = 3, .gap = 8, .seed = 9});
      std::vector<std::byte> rows = batch.rows;
      std::vector<float> lse = batch.lse;
      ASSERT_TRUE(merge_states(batch.merge(rows.data(), lse.data(), to, nullptr), *pool).ok());
      batch.expect(rows, lse, to, "in place of state " + std::to_string(to));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(MergeStates, OneStateKeepsItsBitsAndAbsentLseIsNotWritten) {
  MergeBatch batch({.type = RowType::kBF16, .states = 1, .empty = 0.0});
  std::vector<std::byte> rows = batch.rows;
  std::vector<float> lse = batch.lse;
  MergeStates merge = batch.merge(rows.data(), lse.data(), 1, nullptr);
  merge.result.lse = nullptr;
  ASSERT_TRUE(merge_states(merge, *make_pool_for_test(1)).ok());
  const std::size_t bytes = batch.row_elements * 2;
  EXPECT_EQ(std::memcmp(rows.data(), rows.data() + bytes, bytes), 0);
  EXPECT_TRUE(std::isnan(lse.back()));
}

// A request's tokens in two parts, attended to one after the other, are the whole.
TEST(MergeStates, TwoPartsOfARequestAreTheWhole) {
  AttentionGeometry g;
  g.num_heads = 6;
  g.num_kv_heads = 2;
  g.head_dim = 64;
  g.head_dim_v = 72;
  g.page_tokens = 8;
  g.kv_type = KvType::kF32;
  g.causal = false;
  const std::int32_t len = 203;
  PoisonedBatch whole({.geometry = g, .lens = {len}, .direct = false});
  const auto pool = make_pool_for_test(2);
  const auto attend = [&](std::int64_t begin_page, std::int32_t tokens, float* out, float* lse) {
    AttentionLaunch launch = whole.launch;
    launch.pages.pages += begin_page;
    launch.out.data = out;
    launch.lse.data = lse;
    const std::vector<std::int32_t> lens{tokens};
    const PlanBatch batch{lens};
    PlannedBatch planned(g, batch);
    ASSERT_TRUE(decode_attention(planned.plan(), launch, planned.scratch(), *pool).ok());
  };
  std::vector<float> outs(3 * whole.out.size());
  std::vector<float> lses(3 * whole.lse.size());
  attend(0, 96, outs.data(), lses.data());
  attend(12, len - 96, outs.data() + whole.out.size(), lses.data() + whole.lse.size());
  std::vector<AttentionState> states;
  for (std::int64_t i = 0; i < 3; ++i) {
    states.push_back(dense_attention_state(RowType::kF32, outs.data(), lses.data(), i, 1, 6, 72));
  }
  MergeStates merge{RowType::kF32, 1, 6, 72, std::span(states).first(2), states[2]};
  ASSERT_TRUE(merge_states(merge, *pool).ok());
  std::copy_n(outs.end() - static_cast<std::ptrdiff_t>(whole.out.size()), whole.out.size(),
              whole.out.begin());
  std::copy_n(lses.end() - static_cast<std::ptrdiff_t>(whole.lse.size()), whole.lse.size(),
              whole.lse.begin());
  whole.expect_oracle("two parts");
}

TEST(MergeStates, RefusesWhatCannotBeMerged) {
  MergeBatch batch({});
  const auto pool = make_pool_for_test(1);
  const auto refused = [&](void (*change)(MergeStates&, AttentionState&), const char* message) {
    MergeStates merge = batch.merge(batch.rows.data(), batch.lse.data(), 2, nullptr);
    change(merge, batch.states[1]);
    const Status status = merge_states(merge, *pool);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << message;
    EXPECT_NE(status.message().find(message), std::string::npos) << to_string(status);
  };
  refused([](MergeStates& m, AttentionState&) { m.states = {}; }, "0 states");
  refused([](MergeStates& m, AttentionState&) { m.dim = 12; }, "heads of 12");
  refused([](MergeStates& m, AttentionState&) { m.num_tokens = -1; }, "-1 tokens");
  refused([](MergeStates&, AttentionState& s) { s.rows = nullptr; }, "rows of state 1 are null");
  refused([](MergeStates&, AttentionState& s) { s.lse = nullptr; }, "log-sum-exp of state 1");
  refused([](MergeStates&, AttentionState& s) { s.head_stride = 63; }, "rows of 64 overlap");
  refused([](MergeStates&, AttentionState& s) { s.lse_token_stride = -1; }, "-1 (token)");
  refused([](MergeStates& m, AttentionState&) { m.result.rows = nullptr; }, "the result");
  refused([](MergeStates& m,
             AttentionState&) { m.result.rows = static_cast<char*>(m.result.rows) + 1; },
          "not aligned");
  const std::vector<AttentionState> many(33, batch.states[0]);
  MergeStates merge = batch.merge(batch.rows.data(), batch.lse.data(), 2, nullptr);
  merge.states = many;
  EXPECT_EQ(merge_states(merge, *pool).code(), StatusCode::kInvalidArgument);
  // Nothing was written.
  EXPECT_TRUE(std::isnan(batch.lse.back()));
}

TEST(NumberFormat, EveryHalfThereAndBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double f16 = oracle::from_f16(half);
    const double bf16 = oracle::from_bf16(half);
    if (!std::isnan(f16)) {
      ASSERT_EQ(double{float_of_f16(half)}, f16);
      ASSERT_EQ(f16_of(float_of_f16(half)), half);
    } else {
      ASSERT_TRUE(std::isnan(float_of_f16(half)));
      ASSERT_TRUE(std::isnan(float_of_f16(f16_of(float_of_f16(half)))));
    }
    if (!std::isnan(bf16)) {
      ASSERT_EQ(double{float_of_bf16(half)}, bf16);
      ASSERT_EQ(bf16_of(float_of_bf16(half)), half);
    } else {
      ASSERT_TRUE(std::isnan(float_of_bf16(bf16_of(float_of_bf16(half)))));
    }
  }
}

TEST(NumberFormat, RoundsToNearestEven) {
  // Between two neighbours of either sign: the nearer one, and the even one of the middle.
  for (std::uint32_t bits = 0; bits + 1 < 0x7c00; ++bits) {
    const double low = oracle::from_f16(static_cast<std::uint16_t>(bits));
    const double high = oracle::from_f16(static_cast<std::uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(f16_of(middle), bits + (bits & 1)) << bits;
    ASSERT_EQ(f16_of(-middle), (bits + (bits & 1)) | 0x8000);
    ASSERT_EQ(f16_of(std::nextafter(middle, 1e9f)), bits + 1);
    ASSERT_EQ(f16_of(std::nextafter(middle, -1e9f)), bits);
  }
  EXPECT_EQ(f16_of(65519.99f), 0x7bff);
  EXPECT_EQ(f16_of(65520.0f), 0x7c00);
  EXPECT_EQ(f16_of(1e30f), 0x7c00);
  EXPECT_EQ(f16_of(1e-30f), 0);
}

}  // namespace
}  // namespace onebeat
