// SPDX-License-Identifier: Apache-2.0
// A batch with its memory, and arguments of every call of the C ABI that are sound, for tests to
// run or to spoil.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attention/poisoned_batch_for_test.h"
#include "onebeat/onebeat.h"

namespace onebeat::c_api {

struct PlannerEnd {
  void operator()(onebeat_planner* handle) const { onebeat_planner_destroy(handle); }
};
struct ThreadPoolEnd {
  void operator()(onebeat_thread_pool* handle) const { onebeat_thread_pool_destroy(handle); }
};
struct AttentionEnd {
  void operator()(onebeat_attention* handle) const { onebeat_attention_destroy(handle); }
};
using OwnedPlanner = std::unique_ptr<onebeat_planner, PlannerEnd>;
using OwnedThreadPool = std::unique_ptr<onebeat_thread_pool, ThreadPoolEnd>;
using OwnedAttention = std::unique_ptr<onebeat_attention, AttentionEnd>;

inline onebeat_geometry geometry_for_c(const AttentionGeometry& g) {
  onebeat_geometry geometry = onebeat_geometry_init();
  geometry.num_heads = g.num_heads;
  geometry.num_kv_heads = g.num_kv_heads;
  geometry.head_dim = g.head_dim;
  geometry.head_dim_v = g.head_dim_v;
  geometry.page_tokens = g.page_tokens;
  geometry.tile_tokens = g.tile_tokens;
  geometry.workers = g.workers;
  geometry.window_left = g.window_left;
  geometry.chunk_tokens = g.chunk_tokens;
  geometry.max_query_tokens = g.max_query_tokens;
  geometry.invariant_chunk_tokens = g.invariant_chunk_tokens;
  geometry.causal = g.causal ? 1 : 0;
  geometry.kv_type = static_cast<onebeat_type>(g.kv_type);
  return geometry;
}

template <typename T>
onebeat_head_rows rows_for_c(const HeadRows<T>& rows) {
  onebeat_head_rows c =
      onebeat_dense_rows(const_cast<float*>(static_cast<const float*>(rows.data)), ONEBEAT_TYPE_F32,
                         rows.num_tokens, rows.num_heads, rows.dim);
  c.token_stride = rows.token_stride;
  c.head_stride = rows.head_stride;
  return c;
}

/// One decode step of a poisoned batch through the C ABI.
class SoundCalls {
 public:
  explicit SoundCalls(BatchOptions options, int threads = 2)
      : batch(std::move(options)), geometry(geometry_for_c(batch.options.geometry)) {
    const auto requests = static_cast<std::int32_t>(batch.options.lens.size());
    limits = onebeat_limits_init();
    limits.max_requests = requests;
    limits.max_context_tokens = 1 << 20;
    limits.max_query_tokens = geometry.max_query_tokens;
    limits.page_tokens = geometry.page_tokens;
    make_handles(threads);
    make_memory();
    make_step(requests);
    make_launches();
  }

  onebeat_status prepare() { return onebeat_prepare_step(planner.get(), &step, nullptr, &error); }
  onebeat_status decode() {
    return onebeat_decode_attention(attention.get(), &plan, &launch, &scratch, nullptr, &error);
  }
  onebeat_status prefill() {
    return onebeat_prefill_attention(attention.get(), &prompts, &launch, nullptr, &error);
  }
  onebeat_status merge() {
    return onebeat_merge_states(attention.get(), &merge_launch, nullptr, &error);
  }
  onebeat_status append() {
    return onebeat_append_kv(attention.get(), &append_launch, nullptr, &error);
  }

  PoisonedBatch batch;
  onebeat_geometry geometry;
  onebeat_limits limits = {};
  OwnedPlanner planner;
  OwnedThreadPool pool;
  OwnedAttention attention;
  onebeat_error error = onebeat_error_init();

  onebeat_step step = onebeat_step_init();
  onebeat_plan plan = onebeat_plan_init();
  onebeat_attention_launch launch = onebeat_attention_launch_init();
  onebeat_scratch scratch = onebeat_scratch_init();
  onebeat_prefill_batch prompts = onebeat_prefill_batch_init();
  onebeat_append_launch append_launch = onebeat_append_launch_init();

  onebeat_merge_launch merge_launch = onebeat_merge_launch_init();
  onebeat_attention_state states[2] = {};
  std::vector<float> parts;
  std::vector<float> part_lse;

  std::uint32_t faults = 0;
  std::vector<onebeat_launch_record> records = std::vector<onebeat_launch_record>(4);
  onebeat_trace trace = onebeat_trace_init(records.data(), 4);
  std::vector<std::int32_t> out_lens;
  std::vector<std::uint32_t> counters;

 private:
  struct alignas(16) Block {
    std::byte bytes[16];
  };

  void make_handles(int threads) {
    const onebeat_geometry* one = &geometry;
    onebeat_planner* made_planner = nullptr;
    EXPECT_EQ(onebeat_planner_create(ONEBEAT_CPU, &one, nullptr, 1, &limits, &made_planner, &error),
              ONEBEAT_OK)
        << error.message;
    planner.reset(made_planner);
    onebeat_thread_pool* made_pool = nullptr;
    EXPECT_EQ(onebeat_thread_pool_create(threads, &made_pool, &error), ONEBEAT_OK) << error.message;
    pool.reset(made_pool);
    onebeat_attention* made_attention = nullptr;
    EXPECT_EQ(onebeat_cpu_attention_create(&geometry, pool.get(), nullptr, &made_attention, &error),
              ONEBEAT_OK)
        << error.message;
    attention.reset(made_attention);
  }

  void make_memory() {
    onebeat_sizes sizes = onebeat_sizes_init();
    EXPECT_EQ(onebeat_planner_sizes(planner.get(), 0, &sizes, &error), ONEBEAT_OK);
    plan_blocks_.resize(static_cast<std::size_t>(sizes.plan_bytes) / sizeof(Block) + 1);
    outputs_.assign(static_cast<std::size_t>(sizes.scratch_output_floats), PoisonedBatch::kNaN);
    stats_.assign(static_cast<std::size_t>(sizes.scratch_stats_floats), PoisonedBatch::kNaN);
    counters.assign(static_cast<std::size_t>(sizes.scratch_counters), 0xdeadbeef);
    scratch.outputs = outputs_.data();
    scratch.output_floats = sizes.scratch_output_floats;
    scratch.stats = stats_.data();
    scratch.stats_floats = sizes.scratch_stats_floats;
    scratch.counters = counters.data();
    scratch.num_counters = sizes.scratch_counters;
    EXPECT_EQ(onebeat_planner_plan(planner.get(), 0, plan_blocks_.data(), 1, &plan, &error),
              ONEBEAT_OK);
  }

  void make_step(std::int32_t requests) {
    const BatchOptions& o = batch.options;
    out_lens.assign(static_cast<std::size_t>(requests), -1);
    step.num_requests = requests;
    step.lens = onebeat_i32_array(o.lens.data(), requests);
    step.query_tokens = onebeat_i32_array(o.query_tokens.data(), requests);
    step.out_lens = onebeat_i32_output(out_lens.data(), requests);
    step.plans[0] = plan_blocks_.data();
    step.counters[0] = counters.data();
    step.trace = &trace;
  }

  void make_launches() {
    const AttentionLaunch& l = batch.launch;
    launch.layer = 3;
    launch.q = rows_for_c(l.q);
    launch.out = rows_for_c(l.out);
    launch.lse = {l.lse.data, l.lse.size, l.lse.request_stride, l.lse.token_stride,
                  l.lse.head_stride};
    launch.scale = l.score.scale;
    launch.soft_cap = l.score.soft_cap;
    launch.sinks = l.score.sinks;
    EXPECT_EQ(
        onebeat_kv_pool_describe(&geometry, static_cast<onebeat_kv_layout>(batch.options.layout),
                                 l.kv.num_pages, l.kv.k, l.kv.v, &launch.kv, &error),
        ONEBEAT_OK);
    launch.kv.k_scales = l.kv.k_scales;
    launch.kv.v_scales = l.kv.v_scales;
    launch.pages = {l.pages.pages, l.pages.row_stride, l.pages.num_rows, l.pages.num_columns,
                    l.pages.row_of};
    launch.faults = &faults;
    launch.trace = &trace;

    prompts.num_requests = step.num_requests;
    prompts.query_begin = batch.query_begin.data();
    prompts.lens = batch.options.lens.data();

    const AttentionGeometry& g = batch.options.geometry;
    slots_ = {0, -1, g.page_tokens};
    const auto tokens = static_cast<std::int64_t>(slots_.size());
    new_k_.assign(slots_.size() * static_cast<std::size_t>(g.num_kv_heads * g.head_dim), 0.5f);
    new_v_.assign(slots_.size() * static_cast<std::size_t>(g.num_kv_heads * g.head_dim_v), 0.25f);
    make_merge();
    append_launch.layer = 3;
    append_launch.k =
        onebeat_dense_rows(new_k_.data(), ONEBEAT_TYPE_F32, tokens, g.num_kv_heads, g.head_dim);
    append_launch.v =
        onebeat_dense_rows(new_v_.data(), ONEBEAT_TYPE_F32, tokens, g.num_kv_heads, g.head_dim_v);
    append_launch.slots = slots_.data();
    append_launch.num_tokens = tokens;
    append_launch.kv = launch.kv;
    append_launch.faults = &faults;
    append_launch.trace = &trace;
  }

  /// Two dense parts of two tokens, merged where the step's outputs are.
  void make_merge() {
    const AttentionGeometry& g = batch.options.geometry;
    const std::int64_t rows = 2 * g.num_heads;
    parts.assign(static_cast<std::size_t>(2 * rows * g.head_dim_v), 1.0f);
    std::fill(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(rows * g.head_dim_v),
              3.0f);
    part_lse.assign(static_cast<std::size_t>(2 * rows), 0.0f);
    for (std::int64_t i = 0; i < 2; ++i) {
      states[i] = {parts.data() + i * rows * g.head_dim_v,
                   part_lse.data() + i * rows,
                   std::int64_t{g.num_heads} * g.head_dim_v,
                   g.head_dim_v,
                   g.num_heads,
                   1};
    }
    merge_launch.states = states;
    merge_launch.num_states = 2;
    merge_launch.num_tokens = 2;
    merge_launch.result = states[0];
    merge_launch.result.rows = batch.out.data();
    merge_launch.result.lse = nullptr;
    merge_launch.trace = &trace;
  }

  std::vector<Block> plan_blocks_;
  std::vector<float> outputs_;
  std::vector<float> stats_;
  std::vector<float> new_k_;
  std::vector<float> new_v_;
  std::vector<std::int32_t> slots_;
};

/// A small class of layers whose long request is split between workers.
inline BatchOptions small_batch() {
  BatchOptions options;
  options.geometry.num_heads = 4;
  options.geometry.num_kv_heads = 2;
  options.geometry.head_dim = 32;
  options.geometry.head_dim_v = 32;
  options.geometry.page_tokens = 16;
  options.geometry.tile_tokens = 32;
  options.geometry.workers = 5;
  options.lens = {300, 1, 0, 33};
  options.query_tokens = {1, 1, 1, 1};
  return options;
}

}  // namespace onebeat::c_api
