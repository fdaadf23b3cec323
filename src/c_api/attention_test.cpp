// SPDX-License-Identifier: Apache-2.0
// Attention through the C ABI against the fp64 oracle, on poisoned batches.
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "c_api/sound_calls_for_test.h"

namespace onebeat::c_api {
namespace {

std::vector<BatchOptions> batches() {
  std::vector<BatchOptions> all;
  all.push_back(small_batch());
  BatchOptions window = small_batch();
  window.geometry.window_left = 40;
  window.soft_cap = 5.0f;
  window.sinks = true;
  window.layout = KvLayout::kNhd;
  window.padded_rows = true;
  all.push_back(window);
  BatchOptions drafts = small_batch();
  drafts.geometry.max_query_tokens = 4;
  drafts.geometry.kv_type = KvType::kF16;
  drafts.geometry.head_dim_v = 16;
  drafts.lens = {300, 9, 0, 33};
  drafts.query_tokens = {4, 2, 0, 1};
  drafts.direct = false;
  all.push_back(drafts);
  BatchOptions invariant = small_batch();
  invariant.geometry.invariant_chunk_tokens = 64;
  invariant.geometry.kv_type = KvType::kF32;
  all.push_back(invariant);
  BatchOptions fp8 = small_batch();
  fp8.geometry.kv_type = KvType::kF8E4M3;
  all.push_back(fp8);
  return all;
}

TEST(CAttention, DecodeMatchesTheOracleAndLeavesCountersZero) {
  for (const BatchOptions& options : batches()) {
    SoundCalls calls(options);
    ASSERT_EQ(calls.prepare(), ONEBEAT_OK) << calls.error.message;
    for (int round = 0; round < 2; ++round) {
      calls.batch.forget_results();
      ASSERT_EQ(calls.decode(), ONEBEAT_OK) << calls.error.message;
      calls.batch.expect_oracle("decode");
      EXPECT_EQ(calls.faults, 0u);
      for (const std::uint32_t counter : calls.counters) ASSERT_EQ(counter, 0u);
    }
  }
}

TEST(CAttention, PrefillMatchesTheOracle) {
  for (BatchOptions options : batches()) {
    options.query_tokens = {200, 1, 0, 33};
    options.lens = {300, 1, 0, 33};
    SoundCalls calls(options);
    ASSERT_EQ(calls.prefill(), ONEBEAT_OK) << calls.error.message;
    calls.batch.expect_oracle("prefill");
  }
}

TEST(CAttention, MergesStates) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.merge(), ONEBEAT_OK) << calls.error.message;
  const std::size_t elements = 2 * 4 * 32;
  for (std::size_t i = 0; i < elements; ++i) {
    ASSERT_EQ(calls.batch.out[i], 2.0f) << "equal weights of 3 and 1";
  }
  EXPECT_TRUE(std::isnan(calls.batch.out[elements])) << "a third token was not asked for";
  EXPECT_STREQ(calls.records[0].operation, "merge_states");
  const std::vector<float> sinks(4, std::log(2.0f));
  calls.merge_launch.sinks = sinks.data();
  ASSERT_EQ(calls.merge(), ONEBEAT_OK) << calls.error.message;
  EXPECT_NEAR(calls.batch.out[0], 1.0f, 1e-6) << "the sinks weigh as much as both parts";
}

TEST(CAttention, AppendedTokensAreInTheCacheAndSkippedOnesAreNot) {
  BatchOptions options = small_batch();
  options.geometry.kv_type = KvType::kF32;
  SoundCalls calls(options);
  ASSERT_EQ(calls.append(), ONEBEAT_OK) << calls.error.message;
  const KvPool& kv = calls.batch.launch.kv;
  const auto* k = static_cast<const float*>(kv.k);
  const auto* v = static_cast<const float*>(kv.v);
  for (std::int32_t head = 0; head < kv.num_kv_heads; ++head) {
    for (const std::int64_t page : {0, 1}) {
      EXPECT_EQ(k[page * kv.k_page_stride + head * kv.k_head_stride], 0.5f);
      EXPECT_EQ(v[page * kv.v_page_stride + head * kv.v_head_stride + 31], 0.25f);
    }
    // Page 0 is nobody's: the second row of it is poison still.
    EXPECT_TRUE(std::isnan(k[kv.k_token_stride + head * kv.k_head_stride]));
  }
}

TEST(CAttention, FaultsAreClampedReportedAndTraced) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK);
  calls.batch.page_ids.assign(calls.batch.page_ids.size(), 1 << 20);
  EXPECT_EQ(calls.decode(), ONEBEAT_OUT_OF_RANGE);
  EXPECT_EQ(calls.faults, static_cast<std::uint32_t>(ONEBEAT_FAULT_PAGE_ID));
  EXPECT_THAT(calls.error.message, testing::HasSubstr("page ids outside the pool"));
  const std::int32_t slots[] = {0, 1 << 30, -2};
  calls.append_launch.slots = slots;
  EXPECT_EQ(calls.append(), ONEBEAT_OUT_OF_RANGE);
  EXPECT_EQ(calls.faults, static_cast<std::uint32_t>(ONEBEAT_FAULT_PAGE_ID | ONEBEAT_FAULT_SLOT));
  EXPECT_EQ(calls.trace.count, 3u) << "the step, and two calls that ran";
}

TEST(CAttention, TheTraceIsARingOfWhatRan) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK);
  for (calls.launch.layer = 0; calls.launch.layer < 5; ++calls.launch.layer) {
    ASSERT_EQ(calls.decode(), ONEBEAT_OK);
  }
  ASSERT_EQ(calls.trace.count, 6u);
  // Records 0 and 1, the step's and layer 0's, made room for layers 3 and 4.
  const std::int32_t layers[] = {3, 4, 1, 2};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_STREQ(calls.records[i].operation, "decode_attention");
    EXPECT_STREQ(calls.records[i].kernel, onebeat_attention_variant(calls.attention.get()));
    EXPECT_EQ(calls.records[i].layer, layers[i]);
    EXPECT_EQ(calls.records[i].device, ONEBEAT_CPU);
  }
  onebeat_trace counting = onebeat_trace_init(nullptr, 0);
  calls.step.trace = &counting;
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK);
  EXPECT_EQ(counting.count, 1u);
}

TEST(CAttention, EveryVariantCanBeForcedByName) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK);
  int index = 0;
  for (const CpuVariant& variant : cpu_attention_variants()) {
    const char* name = onebeat_variant_name(ONEBEAT_CPU, index++);
    ASSERT_EQ(std::string(name), variant.name) << "as a C string";
    onebeat_attention* made = nullptr;
    const onebeat_status status =
        onebeat_cpu_attention_create(&calls.geometry, calls.pool.get(), name, &made, &calls.error);
    if (!variant.supported) {
      EXPECT_EQ(status, ONEBEAT_UNSUPPORTED);
      continue;
    }
    ASSERT_EQ(status, ONEBEAT_OK) << calls.error.message;
    calls.attention.reset(made);
    calls.batch.forget_results();
    calls.trace.count = 0;
    ASSERT_EQ(calls.decode(), ONEBEAT_OK) << calls.error.message;
    calls.batch.expect_oracle(name);
    EXPECT_STREQ(calls.records[0].kernel, name);
  }
  EXPECT_EQ(onebeat_variant_name(ONEBEAT_CPU, index), nullptr);
  EXPECT_EQ(onebeat_variant_name(ONEBEAT_CPU, -1), nullptr);
}

TEST(CAttention, OutlivesTheCallersShareOfThePool) {
  SoundCalls calls(small_batch());
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK);
  calls.pool.reset();
  ASSERT_EQ(calls.decode(), ONEBEAT_OK) << calls.error.message;
  calls.batch.expect_oracle("after the pool's handle is gone");
}

TEST(CAttention, SeveralPlannersAndAttentionsWorkAtOnce) {
  std::vector<std::unique_ptr<SoundCalls>> all;
  for (const BatchOptions& options : batches())
    all.push_back(std::make_unique<SoundCalls>(options));
  std::vector<std::thread> threads;
  for (auto& calls : all) {
    threads.emplace_back([&calls] {
      for (int round = 0; round < 10; ++round) {
        ASSERT_EQ(calls->prepare(), ONEBEAT_OK);
        ASSERT_EQ(calls->decode(), ONEBEAT_OK) << calls->error.message;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& calls : all) calls->batch.expect_oracle("beside others");
}

TEST(CAttention, ASecondCallOnABusyPoolIsRefusedAndNothingBreaks) {
  SoundCalls one(small_batch());
  SoundCalls other(small_batch());
  onebeat_attention* made = nullptr;
  ASSERT_EQ(onebeat_cpu_attention_create(&other.geometry, one.pool.get(), nullptr, &made, nullptr),
            ONEBEAT_OK);
  other.attention.reset(made);
  ASSERT_EQ(one.prepare(), ONEBEAT_OK);
  ASSERT_EQ(other.prepare(), ONEBEAT_OK);
  const auto decode_often = [](SoundCalls& calls) {
    for (int round = 0; round < 200; ++round) {
      const onebeat_status status = calls.decode();
      ASSERT_TRUE(status == ONEBEAT_OK || status == ONEBEAT_RESOURCE_EXHAUSTED)
          << calls.error.message;
    }
  };
  std::thread beside([&] { decode_often(other); });
  decode_often(one);
  beside.join();
  for (SoundCalls* calls : {&one, &other}) {
    calls->batch.forget_results();
    ASSERT_EQ(calls->decode(), ONEBEAT_OK) << calls->error.message;
    calls->batch.expect_oracle("after the race");
  }
}

}  // namespace
}  // namespace onebeat::c_api
