// SPDX-License-Identifier: Apache-2.0
// The C ABI on a CUDA device: a step captured in a graph, prepared and decoded through it, against
// the oracle; refusals.
#include <cstring>
#include <string>

#include "attention/cuda/decode/decode_checks_for_test.h"
#include "c_api/sound_calls_for_test.h"

namespace onebeat::c_api {
namespace {

BatchOptions device_batch(KvType type) {
  BatchOptions options;
  options.geometry = decode_geometry(8, 2, 128, 16, 64, type);
  options.lens = {1500, 1, 0, 333, 64};
  options.query_tokens = {1, 1, 1, 1, 1};
  return options;
}

onebeat_head_rows device_rows(const auto& rows, onebeat_type type) {
  onebeat_head_rows c =
      onebeat_dense_rows(const_cast<std::uint16_t*>(static_cast<const std::uint16_t*>(rows.data)),
                         type, rows.num_tokens, rows.num_heads, rows.dim);
  c.token_stride = rows.token_stride;
  c.head_stride = rows.head_stride;
  return c;
}

class CCuda : public DecodeChecks {
 protected:
  void make(const BatchOptions& options) {
    host_ = std::make_unique<PoisonedBatch>(options);
    device_ = std::make_unique<DeviceBatch>(*host_, stream());
    geometry_ = geometry_for_c(options.geometry);
    onebeat_limits limits = onebeat_limits_init();
    limits.max_requests = static_cast<std::int32_t>(options.lens.size());
    limits.max_context_tokens = 1 << 20;
    limits.page_tokens = geometry_.page_tokens;
    const onebeat_geometry* one = &geometry_;
    onebeat_planner* planner = nullptr;
    ASSERT_EQ(onebeat_planner_create(0, &one, nullptr, 1, &limits, &planner, &error_), ONEBEAT_OK)
        << error_.message;
    planner_.reset(planner);
    onebeat_attention* attention = nullptr;
    ASSERT_EQ(onebeat_cuda_attention_create(0, &geometry_, nullptr, &attention, &error_),
              ONEBEAT_OK)
        << error_.message;
    attention_.reset(attention);
    make_calls(options);
  }

  void make_calls(const BatchOptions& options) {
    lens_ = value_of(
        DeviceBuffer<std::int32_t>::copy_of(std::span<const std::int32_t>(options.lens), stream()));
    step_.num_requests = static_cast<std::int32_t>(options.lens.size());
    step_.lens = onebeat_i32_array(lens_.data(), step_.num_requests);
    step_.plans[0] = device_->plan_buffer().data();
    step_.counters[0] = device_->scratch().counters.data();
    step_.faults = &device_->faults();
    step_.trace = &trace_;
    ASSERT_EQ(
        onebeat_planner_plan(planner_.get(), 0, device_->plan_buffer().data(), 1, &plan_, &error_),
        ONEBEAT_OK);
    const AttentionScratch scratch = device_->scratch();
    scratch_.outputs = scratch.outputs.data();
    scratch_.output_floats = static_cast<std::int64_t>(scratch.outputs.size());
    scratch_.stats = scratch.stats.data();
    scratch_.stats_floats = static_cast<std::int64_t>(scratch.stats.size());
    scratch_.counters = scratch.counters.data();
    scratch_.num_counters = static_cast<std::int64_t>(scratch.counters.size());
    const CudaAttentionLaunch l = device_->launch();
    const onebeat_type type =
        options.geometry.kv_type == KvType::kF16 ? ONEBEAT_TYPE_F16 : ONEBEAT_TYPE_BF16;
    launch_.layer = 7;
    launch_.q = device_rows(l.q, type);
    launch_.out = device_rows(l.out, type);
    launch_.lse = {l.lse.data, l.lse.size, l.lse.request_stride, l.lse.token_stride,
                   l.lse.head_stride};
    launch_.scale = l.score.scale;
    ASSERT_EQ(onebeat_kv_pool_describe(&geometry_, ONEBEAT_KV_RUNS, l.kv.num_pages, l.kv.k, l.kv.v,
                                       &launch_.kv, &error_),
              ONEBEAT_OK);
    launch_.pages = {l.pages.pages, l.pages.row_stride, l.pages.num_rows, l.pages.num_columns,
                     l.pages.row_of};
    launch_.faults = l.faults;
    launch_.trace = &trace_;
  }

  onebeat_status decode() {
    return onebeat_decode_attention(attention_.get(), &plan_, &launch_, &scratch_, stream(),
                                    &error_);
  }

  std::unique_ptr<PoisonedBatch> host_;
  std::unique_ptr<DeviceBatch> device_;
  DeviceBuffer<std::int32_t> lens_;
  onebeat_geometry geometry_ = {};
  OwnedPlanner planner_;
  OwnedAttention attention_;
  onebeat_error error_ = onebeat_error_init();
  onebeat_step step_ = onebeat_step_init();
  onebeat_plan plan_ = onebeat_plan_init();
  onebeat_attention_launch launch_ = onebeat_attention_launch_init();
  onebeat_scratch scratch_ = onebeat_scratch_init();
  onebeat_launch_record records_[4] = {};
  onebeat_trace trace_ = onebeat_trace_init(records_, 4);
};

TEST_F(CCuda, ACapturedStepIsTwoKernelsAndMatchesTheOracleInEveryReplay) {
  for (const KvType type : {KvType::kBF16, KvType::kF16}) {
    make(device_batch(type));
    ASSERT_FALSE(HasFatalFailure());
    const std::vector<oracle::Row> rows = device_->oracle_rows();
    ASSERT_TRUE(device_->plan_buffer().fill_bytes(0xff, stream()).ok());
    ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
    trace_.count = 0;
    const auto graph = value_of(CudaGraph::capture(stream(), [&](cudaStream_t captured) -> Status {
      EXPECT_EQ(onebeat_prepare_step(planner_.get(), &step_, captured, &error_), ONEBEAT_OK)
          << error_.message;
      EXPECT_EQ(decode(), ONEBEAT_OK) << error_.message;
      return {};
    }));
    EXPECT_EQ(graph.kernel_nodes(), 2);
    for (int replay = 0; replay < 3; ++replay) {
      device_->forget_results();
      ASSERT_TRUE(graph.launch(stream()).ok());
      ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
      device_->expect(rows, std::string(name_of(type)) + ", replay " + std::to_string(replay));
    }
    ASSERT_EQ(trace_.count, 2u);
    EXPECT_STREQ(records_[0].operation, "prepare_step");
    EXPECT_STREQ(records_[1].operation, "decode_attention");
    EXPECT_STREQ(records_[1].kernel, onebeat_attention_variant(attention_.get()));
    EXPECT_EQ(records_[1].layer, 7);
    EXPECT_EQ(records_[1].device, 0);
  }
}

TEST_F(CCuda, AppendsToTheCache) {
  make(device_batch(KvType::kBF16));
  ASSERT_FALSE(HasFatalFailure());
  // Page 0 is nobody's: its third token gets the first row, nobody the second.
  const std::vector<std::int32_t> slots = {2, -1};
  const std::vector<std::uint16_t> rows(2 * 2 * 128, 0x3f00);  // [tokens, G, D] of 0.5
  const auto device_slots =
      value_of(DeviceBuffer<std::int32_t>::copy_of(std::span(slots), stream()));
  auto device_rows = value_of(DeviceBuffer<std::uint16_t>::copy_of(std::span(rows), stream()));
  onebeat_append_launch append = onebeat_append_launch_init();
  append.k = append.v = onebeat_dense_rows(device_rows.data(), ONEBEAT_TYPE_BF16, 2, 2, 128);
  append.slots = device_slots.data();
  append.num_tokens = 2;
  append.kv = launch_.kv;
  append.faults = &device_->faults();
  append.trace = &trace_;
  ASSERT_EQ(onebeat_append_kv(attention_.get(), &append, stream(), &error_), ONEBEAT_OK)
      << error_.message;
  ASSERT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
  for (const auto& [data, head_stride] :
       {std::pair{append.kv.k, append.kv.k_head_stride}, {append.kv.v, append.kv.v_head_stride}}) {
    for (const std::int64_t head : {0, 1}) {
      std::vector<std::uint16_t> page(16 * 128);
      ASSERT_EQ(cudaMemcpy(page.data(), static_cast<std::uint16_t*>(data) + head * head_stride,
                           page.size() * 2, cudaMemcpyDefault),
                cudaSuccess);
      for (std::size_t i = 0; i < page.size(); ++i) {
        ASSERT_EQ(page[i], i / 128 == 2 ? 0x3f00 : 0xffff) << "head " << head << ", " << i;
      }
    }
  }
  EXPECT_EQ(device_->faults(), 0u);
  EXPECT_STREQ(records_[0].operation, "append_kv");
}

TEST_F(CCuda, RefusesByNameBeforeALaunch) {
  make(device_batch(KvType::kBF16));
  ASSERT_FALSE(HasFatalFailure());
  const auto expect_refusal = [&](onebeat_status status, onebeat_status expected,
                                  const char* says) {
    EXPECT_EQ(status, expected);
    EXPECT_THAT(error_.message, testing::HasSubstr(says));
  };
  const onebeat_attention_launch sound = launch_;
  launch_.q.type = ONEBEAT_TYPE_F16;
  expect_refusal(decode(), ONEBEAT_UNSUPPORTED, "q has element type 1");
  launch_ = sound;
  launch_.faults = nullptr;
  expect_refusal(decode(), ONEBEAT_INVALID_ARGUMENT, "faults");
  launch_ = sound;
  launch_.overlap = 3;
  expect_refusal(decode(), ONEBEAT_INVALID_ARGUMENT, "overlap is 3");
  launch_ = sound;
  launch_.inputs_version = 9;
  expect_refusal(decode(), ONEBEAT_PLAN_MISMATCH, "version 9");
  launch_ = sound;
  plan_.stamp ^= 1;
  expect_refusal(decode(), ONEBEAT_PLAN_MISMATCH, "stamp");
  plan_.stamp ^= 1;

  onebeat_append_launch append = onebeat_append_launch_init();
  append.kv = launch_.kv;
  append.k.type = append.v.type = ONEBEAT_TYPE_F32;
  expect_refusal(onebeat_append_kv(attention_.get(), &append, stream(), &error_),
                 ONEBEAT_UNSUPPORTED, "k has element type 0");
  append.kv.page_tokens = 8;
  expect_refusal(onebeat_append_kv(attention_.get(), &append, stream(), &error_),
                 ONEBEAT_PLAN_MISMATCH, "pages of 8");
  onebeat_merge_launch merge = onebeat_merge_launch_init();
  expect_refusal(onebeat_merge_states(attention_.get(), &merge, stream(), &error_),
                 ONEBEAT_UNSUPPORTED, "CUDA devices");
  onebeat_attention* none = nullptr;
  expect_refusal(onebeat_cuda_attention_create(0, &geometry_, "abacus", &none, &error_),
                 ONEBEAT_UNSUPPORTED, "abacus");
  geometry_.head_dim = geometry_.head_dim_v = 80;
  onebeat_cost_model cost = onebeat_cost_model_init();
  expect_refusal(onebeat_tune(0, &geometry_, &cost, &error_), ONEBEAT_UNSUPPORTED, "80");
  EXPECT_EQ(trace_.count, 0u);
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
}

}  // namespace

// Needs no device.
TEST(CCudaVariants, NamesAreCStrings) {
  std::int32_t index = 0;
  for (const CudaAttentionVariant& variant : cuda_attention_variants()) {
    EXPECT_EQ(std::string(onebeat_variant_name(0, index++)), variant.name);
  }
  EXPECT_GT(index, 0);
  EXPECT_EQ(onebeat_variant_name(0, index), nullptr);
}

}  // namespace onebeat::c_api
