// SPDX-License-Identifier: Apache-2.0
// Every way to misuse the C ABI that can be told: refused by name, nothing written, and sound calls
// work afterwards. Each case spoils one thing of a call that is sound otherwise.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "c_api/sound_calls_for_test.h"

namespace onebeat::c_api {
namespace {

struct Misuse {
  const char* what;
  std::function<onebeat_status(SoundCalls&)> call;
  onebeat_status expected;
  const char* says;
};

void PrintTo(const Misuse& misuse, std::ostream* out) {
  *out << misuse.what;
}

/// A handle of another kind where a T is asked for.
template <typename T, typename Owner>
T* as_another(const Owner& owner) {
  return reinterpret_cast<T*>(owner.get());
}

onebeat_status create_planner(SoundCalls& s, std::int32_t device = ONEBEAT_CPU,
                              std::int32_t classes = 1) {
  const onebeat_geometry* geometries[] = {&s.geometry, &s.geometry};
  onebeat_planner* made = s.planner.get();
  const onebeat_status status =
      onebeat_planner_create(device, geometries, nullptr, classes, &s.limits, &made, &s.error);
  EXPECT_EQ(made, nullptr) << "a failure leaves null";
  return status;
}

onebeat_status create_attention(SoundCalls& s, const char* variant = nullptr) {
  onebeat_attention* made = s.attention.get();
  const onebeat_status status =
      onebeat_cpu_attention_create(&s.geometry, s.pool.get(), variant, &made, &s.error);
  EXPECT_EQ(made, nullptr) << "a failure leaves null";
  return status;
}

onebeat_status create_cuda_attention(SoundCalls& s) {
  onebeat_attention* made = s.attention.get();
  const onebeat_status status =
      onebeat_cuda_attention_create(1000, &s.geometry, nullptr, &made, &s.error);
  EXPECT_EQ(made, nullptr);
  return status;
}

/// What asking for a device that is not there answers: that there is none, or no CUDA at all.
onebeat_status no_device() {
  return onebeat_has_cuda() != 0 ? ONEBEAT_UNAVAILABLE : ONEBEAT_UNSUPPORTED;
}

using S = SoundCalls;
constexpr onebeat_status kInvalid = ONEBEAT_INVALID_ARGUMENT;
constexpr onebeat_status kRange = ONEBEAT_OUT_OF_RANGE;
constexpr onebeat_status kMismatch = ONEBEAT_PLAN_MISMATCH;
constexpr onebeat_status kUnsupported = ONEBEAT_UNSUPPORTED;

std::vector<Misuse> creations() {
  return {
      {"planner: no place for the handle",
       [](S& s) {
         const onebeat_geometry* one = &s.geometry;
         return onebeat_planner_create(ONEBEAT_CPU, &one, nullptr, 1, &s.limits, nullptr, &s.error);
       },
       kInvalid, "planner is null"},
      {"planner: no limits",
       [](S& s) {
         const onebeat_geometry* one = &s.geometry;
         onebeat_planner* made = nullptr;
         return onebeat_planner_create(ONEBEAT_CPU, &one, nullptr, 1, nullptr, &made, &s.error);
       },
       kInvalid, "limits is null"},
      {"planner: no geometries",
       [](S& s) {
         onebeat_planner* made = nullptr;
         return onebeat_planner_create(ONEBEAT_CPU, nullptr, nullptr, 1, &s.limits, &made,
                                       &s.error);
       },
       kInvalid, "geometries is null"},
      {"planner: one geometry of two is null",
       [](S& s) {
         const onebeat_geometry* two[] = {&s.geometry, nullptr};
         onebeat_planner* made = nullptr;
         return onebeat_planner_create(ONEBEAT_CPU, two, nullptr, 2, &s.limits, &made, &s.error);
       },
       kInvalid, "geometry is null"},
      {"planner: classes below 0", [](S& s) { return create_planner(s, ONEBEAT_CPU, -1); }, kRange,
       "-1 classes"},
      {"planner: too many classes", [](S& s) { return create_planner(s, ONEBEAT_CPU, 9); }, kRange,
       "9 classes"},
      {"planner: a CUDA device that is not there", [](S& s) { return create_planner(s, 1000); },
       no_device(), "cuda:1000"},
      {"planner: a device below the CPU", [](S& s) { return create_planner(s, -2); }, no_device(),
       "cuda:-2"},
      {"planner: limits of requests",
       [](S& s) {
         s.limits.max_requests = -1;
         return create_planner(s);
       },
       kRange, "-1"},
      {"planner: page of another size than the classes'",
       [](S& s) {
         s.limits.page_tokens = 32;
         return create_planner(s);
       },
       kInvalid, "32"},
      {"planner: more query tokens than a class has",
       [](S& s) {
         s.limits.max_query_tokens = 17;
         return create_planner(s);
       },
       kRange, "17"},
      {"geometry: heads that do not divide",
       [](S& s) {
         s.geometry.num_heads = 5;
         return create_planner(s);
       },
       kInvalid, "5"},
      {"geometry: an element type that does not exist",
       [](S& s) {
         s.geometry.kv_type = 7;
         return create_planner(s);
       },
       kInvalid, "kv_type is 7"},
      {"geometry: size never set",
       [](S& s) {
         s.geometry.size = 0;
         return create_planner(s);
       },
       kInvalid, "size of geometry is 0"},
      {"geometry check: null", [](S& s) { return onebeat_check_geometry(nullptr, &s.error); },
       kInvalid, "geometry is null"},
      {"geometry check: window below -1",
       [](S& s) {
         s.geometry.window_left = -2;
         return onebeat_check_geometry(&s.geometry, &s.error);
       },
       kInvalid, "-2"},
      {"heads of a rank: null",
       [](S& s) {
         std::int32_t heads = 8;
         return onebeat_heads_of_rank(2, &heads, nullptr, &s.error);
       },
       kInvalid, "num_kv_heads is null"},
      {"tune: no cost model",
       [](S& s) { return onebeat_tune(ONEBEAT_CPU, &s.geometry, nullptr, &s.error); }, kInvalid,
       "cost model is null"},
      {"tune: a CUDA device that is not there",
       [](S& s) {
         onebeat_cost_model cost = onebeat_cost_model_init();
         return onebeat_tune(1000, &s.geometry, &cost, &s.error);
       },
       no_device(), "cuda:1000"},
      {"thread pool: null", [](S& s) { return onebeat_thread_pool_create(1, nullptr, &s.error); },
       kInvalid, "pool is null"},
      {"thread pool: -1 threads",
       [](S& s) {
         onebeat_thread_pool* made = nullptr;
         return onebeat_thread_pool_create(-1, &made, &s.error);
       },
       kInvalid, "-1"},
      {"attention: unknown variant", [](S& s) { return create_attention(s, "abacus"); },
       kUnsupported, "'abacus'"},
      {"attention: no pool",
       [](S& s) {
         onebeat_attention* made = nullptr;
         return onebeat_cpu_attention_create(&s.geometry, nullptr, nullptr, &made, &s.error);
       },
       kInvalid, "thread pool is null"},
      {"attention: a planner for a pool",
       [](S& s) {
         onebeat_attention* made = nullptr;
         return onebeat_cpu_attention_create(
             &s.geometry, as_another<onebeat_thread_pool>(s.planner), nullptr, &made, &s.error);
       },
       kInvalid, "thread pool is no such handle"},
      {"attention: a CUDA device that is not there", create_cuda_attention, no_device(),
       "cuda:1000"},
      {"KV pool: null place",
       [](S& s) {
         return onebeat_kv_pool_describe(&s.geometry, ONEBEAT_KV_RUNS, 1, nullptr, nullptr, nullptr,
                                         &s.error);
       },
       kInvalid, "pool is null"},
      {"KV pool: unknown layout",
       [](S& s) {
         onebeat_kv_pool pool;
         return onebeat_kv_pool_describe(&s.geometry, 2, 1, nullptr, nullptr, &pool, &s.error);
       },
       kInvalid, "layout of the KV pool is 2"},
      {"KV pool: pages below 0",
       [](S& s) {
         onebeat_kv_pool pool;
         return onebeat_kv_pool_describe(&s.geometry, ONEBEAT_KV_NHD, -1, nullptr, nullptr, &pool,
                                         &s.error);
       },
       kRange, "-1 pages"},
  };
}

/// A sound prepare_step with `spoil` applied to it.
std::function<onebeat_status(S&)> prepare_with(std::function<void(S&)> spoil) {
  return [spoil](S& s) {
    const onebeat_step sound = s.step;
    spoil(s);
    const onebeat_status status = s.prepare();
    s.step = sound;
    return status;
  };
}

std::vector<Misuse> steps() {
  return {
      {"null planner",
       [](S& s) { return onebeat_prepare_step(nullptr, &s.step, nullptr, &s.error); }, kInvalid,
       "planner is null"},
      {"an attention for a planner",
       [](S& s) {
         return onebeat_prepare_step(as_another<onebeat_planner>(s.attention), &s.step, nullptr,
                                     &s.error);
       },
       kInvalid, "planner is no such handle"},
      {"null step",
       [](S& s) { return onebeat_prepare_step(s.planner.get(), nullptr, nullptr, &s.error); },
       kInvalid, "step is null"},
      {"size of an older struct", prepare_with([](S& s) { s.step.size -= 8; }), kInvalid,
       "size of step"},
      {"no lengths", prepare_with([](S& s) { s.step.lens.data = nullptr; }), kInvalid,
       "lens is null but claims 4"},
      {"too few lengths", prepare_with([](S& s) { s.step.lens.size = 3; }), kRange, "lens holds 3"},
      {"lengths of unknown type", prepare_with([](S& s) { s.step.lens.type = 2; }), kInvalid,
       "lens is 2"},
      {"a reserved field of an array", prepare_with([](S& s) { s.step.lens.reserved = 1; }),
       kUnsupported, "reserved field of lens"},
      {"a reserved field", prepare_with([](S& s) { s.step.reserved = 5; }), kUnsupported,
       "reserved field of step is 5"},
      {"more requests than the limit", prepare_with([](S& s) { s.step.num_requests = 5; }), kRange,
       "5 requests"},
      {"requests below 0", prepare_with([](S& s) { s.step.num_requests = -1; }), kRange,
       "-1 requests"},
      {"a length beyond the limit",
       [](S& s) {
         const std::int32_t lens[] = {300, 1, (1 << 20) + 1, 33};
         s.step.lens.data = lens;
         return s.prepare();
       },
       kRange, "request 2"},
      {"unknown page map", prepare_with([](S& s) { s.step.page_map = 3; }), kInvalid,
       "page_map is 3"},
      {"unknown table contract", prepare_with([](S& s) { s.step.tables = -1; }), kInvalid,
       "tables is -1"},
      {"slots without a page map",
       prepare_with([](S& s) { s.step.slots = onebeat_i32_output(s.out_lens.data(), 4); }),
       kInvalid, "need a page map"},
      {"no room for lengths", prepare_with([](S& s) { s.step.out_lens.size = 3; }), kRange,
       "out_lens has room for 3"},
      {"a plan for a class that is not there",
       prepare_with([](S& s) { s.step.plans[1] = s.step.plans[0]; }), kRange, "class 1"},
      {"an unaligned plan",
       prepare_with([](S& s) { s.step.plans[0] = static_cast<char*>(s.step.plans[0]) + 8; }),
       kInvalid, "16 bytes"},
      {"a trace without records", prepare_with([](S& s) { s.trace.records = nullptr; }), kInvalid,
       "trace's records is null"},
      {"a trace without size", prepare_with([](S& s) { s.trace.size = 0; }), kInvalid,
       "size of trace is 0"},
      {"sizes of a class that is not there",
       [](S& s) {
         onebeat_sizes sizes = onebeat_sizes_init();
         return onebeat_planner_sizes(s.planner.get(), 1, &sizes, &s.error);
       },
       kRange, "class 1"},
      {"sizes of class -1",
       [](S& s) {
         onebeat_sizes sizes = onebeat_sizes_init();
         return onebeat_planner_sizes(s.planner.get(), -1, &sizes, &s.error);
       },
       kRange, "class -1"},
      {"sizes without a size",
       [](S& s) {
         onebeat_sizes sizes = {};
         return onebeat_planner_sizes(s.planner.get(), 0, &sizes, &s.error);
       },
       kInvalid, "size of sizes is 0"},
      {"a plan without data",
       [](S& s) { return onebeat_planner_plan(s.planner.get(), 0, nullptr, 0, &s.plan, &s.error); },
       kInvalid, "plan's data is null"},
      {"checking null",
       [](S& s) {
         return onebeat_check_plan(s.planner.get(), 0, nullptr, nullptr, nullptr, 0, &s.error);
       },
       kInvalid, "plan is null"},
      {"checking without lengths",
       [](S& s) {
         return onebeat_check_plan(s.planner.get(), 0, &s.plan, nullptr, nullptr, 4, &s.error);
       },
       kInvalid, "lens is null"},
      {"checking -1 requests",
       [](S& s) {
         return onebeat_check_plan(s.planner.get(), 0, &s.plan, s.out_lens.data(), nullptr, -1,
                                   &s.error);
       },
       kInvalid, "lens has -1"},
      {"checking bytes that are too few",
       [](S& s) {
         onebeat_plan cut = s.plan;
         cut.bytes = 63;
         return onebeat_check_plan(s.planner.get(), 0, &cut, s.out_lens.data(), nullptr, 4,
                                   &s.error);
       },
       ONEBEAT_DATA_LOSS, "63 bytes"},
      {"showing without a length",
       [](S& s) {
         return onebeat_show_plan(s.planner.get(), 0, &s.plan, ONEBEAT_PLAN_TEXT, nullptr, nullptr,
                                  &s.error);
       },
       kInvalid, "length is null"},
      {"showing in an unknown format",
       [](S& s) {
         std::size_t length = 0;
         return onebeat_show_plan(s.planner.get(), 0, &s.plan, 3, nullptr, &length, &s.error);
       },
       kInvalid, "format is 3"},
  };
}

std::function<onebeat_status(S&)> decode_with(std::function<void(S&)> spoil) {
  return [spoil](S& s) {
    spoil(s);
    return s.decode();
  };
}

/// A plan of another class of layers in the place of the right one.
onebeat_status decode_with_another_class(SoundCalls& s) {
  BatchOptions others = s.batch.options;
  others.geometry.window_left = 100;
  SoundCalls other(others);
  EXPECT_EQ(other.prepare(), ONEBEAT_OK);
  return onebeat_decode_attention(s.attention.get(), &other.plan, &s.launch, &s.scratch, nullptr,
                                  &s.error);
}

std::vector<Misuse> launches() {
  return {
      {"null attention",
       [](S& s) {
         return onebeat_decode_attention(nullptr, &s.plan, &s.launch, &s.scratch, nullptr,
                                         &s.error);
       },
       kInvalid, "attention is null"},
      {"a pool for an attention",
       [](S& s) {
         return onebeat_decode_attention(as_another<onebeat_attention>(s.pool), &s.plan, &s.launch,
                                         &s.scratch, nullptr, &s.error);
       },
       kInvalid, "attention is no such handle"},
      {"null plan",
       [](S& s) {
         return onebeat_decode_attention(s.attention.get(), nullptr, &s.launch, &s.scratch, nullptr,
                                         &s.error);
       },
       kInvalid, "plan is null"},
      {"null launch",
       [](S& s) {
         return onebeat_decode_attention(s.attention.get(), &s.plan, nullptr, &s.scratch, nullptr,
                                         &s.error);
       },
       kInvalid, "launch is null"},
      {"null scratch",
       [](S& s) {
         return onebeat_decode_attention(s.attention.get(), &s.plan, &s.launch, nullptr, nullptr,
                                         &s.error);
       },
       kInvalid, "scratch is null"},
      {"a plan of another class", decode_with_another_class, kMismatch, "another geometry"},
      {"a plan of old inputs", decode_with([](S& s) { s.launch.inputs_version = 2; }), kMismatch,
       "version 1"},
      {"a plan without data", decode_with([](S& s) { s.plan.data = nullptr; }), kInvalid,
       "plan.data is null"},
      {"a plan of negative size", decode_with([](S& s) { s.plan.bytes = -1; }), kInvalid,
       "plan.data has -1"},
      {"a plan cut short", decode_with([](S& s) { s.plan.bytes -= 16; }), ONEBEAT_DATA_LOSS,
       "are given"},
      {"queries of another type", decode_with([](S& s) { s.launch.q.type = ONEBEAT_TYPE_BF16; }),
       kUnsupported, "q has element type 2"},
      {"outputs of another type", decode_with([](S& s) { s.launch.out.type = ONEBEAT_TYPE_F16; }),
       kUnsupported, "out has element type 1"},
      {"null queries", decode_with([](S& s) { s.launch.q.data = nullptr; }), kInvalid,
       "query is null"},
      {"null outputs", decode_with([](S& s) { s.launch.out.data = nullptr; }), kInvalid,
       "output is null"},
      {"heads of another number", decode_with([](S& s) { s.launch.q.num_heads = 8; }), kMismatch,
       "query has 8 heads"},
      {"too few rows of outputs", decode_with([](S& s) { s.launch.out.num_tokens = 3; }), kInvalid,
       "output has 3 tokens"},
      {"rows that overlap", decode_with([](S& s) { s.launch.out.head_stride = 8; }), kInvalid,
       "overlap"},
      {"log-sum-exp without room", decode_with([](S& s) { s.launch.lse.size = 15; }), kInvalid,
       "log-sum-exp has 15"},
      {"scale never set", decode_with([](S& s) { s.launch.scale = 0; }), kInvalid, "scale is 0"},
      {"soft cap that is no number", decode_with([](S& s) { s.launch.soft_cap = NAN; }), kInvalid,
       "soft cap"},
      {"a pool of another type", decode_with([](S& s) { s.launch.kv.type = ONEBEAT_TYPE_F32; }),
       kMismatch, "element type 0"},
      {"a pool of no type", decode_with([](S& s) { s.launch.kv.type = 4; }), kInvalid,
       "type of the KV pool is 4"},
      {"scales of a pool that has none",
       decode_with([](S& s) { s.launch.kv.v_scales = s.batch.launch.q.data; }), kInvalid, "scale"},
      {"a pool without K", decode_with([](S& s) { s.launch.kv.k = nullptr; }), kInvalid,
       "K of the KV pool is null"},
      {"pages of another size", decode_with([](S& s) { s.launch.kv.page_tokens = 8; }), kMismatch,
       "pages of 8"},
      {"a page map without rows", decode_with([](S& s) { s.launch.pages.num_rows = 0; }), kInvalid,
       "page map"},
      {"scratch too small", decode_with([](S& s) { s.scratch.output_floats = 16; }), kInvalid,
       "scratch"},
      {"scratch of negative size", decode_with([](S& s) { s.scratch.stats_floats = -4; }), kInvalid,
       "scratch.stats has -4"},
      {"null scratch memory", decode_with([](S& s) { s.scratch.outputs = nullptr; }), kInvalid,
       "scratch.outputs is null"},
      {"too few counters", decode_with([](S& s) { s.scratch.num_counters = 1; }), kInvalid,
       "1 counters"},
      {"a trace without records", decode_with([](S& s) { s.trace.records = nullptr; }), kInvalid,
       "trace's records is null"},
      {"prefill: no batch",
       [](S& s) {
         return onebeat_prefill_attention(s.attention.get(), nullptr, &s.launch, nullptr, &s.error);
       },
       kInvalid, "batch is null"},
      {"prefill: no lengths",
       [](S& s) {
         s.prompts.lens = nullptr;
         return s.prefill();
       },
       kInvalid, "lens is null"},
      {"prefill: no rows",
       [](S& s) {
         s.prompts.query_begin = nullptr;
         return s.prefill();
       },
       kInvalid, "query_begin is null"},
      {"prefill: requests below 0",
       [](S& s) {
         s.prompts.num_requests = -5;
         return s.prefill();
       },
       kInvalid, "-5"},
      {"prefill: rows that fall",
       [](S& s) {
         const std::int32_t begin[] = {0, 2, 1, 2, 3};
         s.prompts.query_begin = begin;
         return s.prefill();
       },
       kRange, "request 1"},
      {"merge: no states",
       [](S& s) {
         s.merge_launch.states = nullptr;
         return s.merge();
       },
       kInvalid, "states is null"},
      {"merge: too many states",
       [](S& s) {
         s.merge_launch.num_states = 33;
         return s.merge();
       },
       kInvalid, "33 states"},
      {"merge: none",
       [](S& s) {
         s.merge_launch.num_states = 0;
         return s.merge();
       },
       kInvalid, "states"},
      {"merge: rows of fp8",
       [](S& s) {
         s.merge_launch.type = ONEBEAT_TYPE_F8_E4M3;
         return s.merge();
       },
       kInvalid, "type of the states is 3"},
      {"merge: a state without rows",
       [](S& s) {
         s.states[1].rows = nullptr;
         return s.merge();
       },
       kInvalid, "null"},
      {"append: no slots",
       [](S& s) {
         s.append_launch.slots = nullptr;
         return s.append();
       },
       kInvalid, "slots is null"},
      {"append: keys of another type",
       [](S& s) {
         s.append_launch.k.type = ONEBEAT_TYPE_BF16;
         return s.append();
       },
       kUnsupported, "k has element type 2"},
      {"append: fewer keys than slots",
       [](S& s) {
         s.append_launch.k.num_tokens = 2;
         return s.append();
       },
       kInvalid, "key has 2 tokens"},
      {"append: a pool of another geometry",
       [](S& s) {
         s.append_launch.kv.num_kv_heads = 1;
         return s.append();
       },
       kMismatch, "1 heads"},
      {"append: tokens below 0",
       [](S& s) {
         s.append_launch.num_tokens = -1;
         return s.append();
       },
       kInvalid, "slots has -1"},
  };
}

class CMisuse : public testing::TestWithParam<Misuse> {};

TEST_P(CMisuse, IsRefusedByNameAndChangesNothing) {
  const Misuse& misuse = GetParam();
  {
    SoundCalls calls(small_batch());
    ASSERT_EQ(calls.prepare(), ONEBEAT_OK) << calls.error.message;
    calls.out_lens.assign(calls.out_lens.size(), -1);
    const std::vector<std::byte> k = calls.batch.k;
    const auto* plan = static_cast<const std::byte*>(calls.plan.data);
    const std::vector<std::byte> plan_before(plan, plan + calls.plan.bytes);

    EXPECT_EQ(misuse.call(calls), misuse.expected) << calls.error.message;
    EXPECT_EQ(calls.error.status, misuse.expected);
    EXPECT_THAT(calls.error.message, testing::HasSubstr(misuse.says));
    EXPECT_EQ(calls.out_lens, std::vector<std::int32_t>(calls.out_lens.size(), -1));
    EXPECT_TRUE(std::all_of(calls.batch.out.begin(), calls.batch.out.end(),
                            [](float value) { return std::isnan(value); }));
    EXPECT_TRUE(std::all_of(calls.batch.lse.begin(), calls.batch.lse.end(),
                            [](float value) { return std::isnan(value); }));
    EXPECT_TRUE(std::equal(plan_before.begin(), plan_before.end(), plan));
    EXPECT_EQ(calls.batch.k, k);
    EXPECT_EQ(calls.faults, 0u);
    EXPECT_EQ(calls.trace.count, 1u) << "only the sound step";
  }
  // The same without a place for the error.
  SoundCalls silent(small_batch());
  ASSERT_EQ(silent.prepare(), ONEBEAT_OK);
  silent.error.size = 0;
  EXPECT_EQ(misuse.call(silent), misuse.expected);
}

std::string name_of(const testing::TestParamInfo<Misuse>& info) {
  std::string name;
  for (const char* c = info.param.what; *c != '\0'; ++c) {
    name += std::isalnum(static_cast<unsigned char>(*c)) != 0 ? *c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Creation, CMisuse, testing::ValuesIn(creations()), name_of);
INSTANTIATE_TEST_SUITE_P(Step, CMisuse, testing::ValuesIn(steps()), name_of);
INSTANTIATE_TEST_SUITE_P(Launch, CMisuse, testing::ValuesIn(launches()), name_of);

TEST(CHandles, NullAndWrongHandlesAreLeftAlone) {
  onebeat_planner_destroy(nullptr);
  onebeat_thread_pool_destroy(nullptr);
  onebeat_attention_destroy(nullptr);
  EXPECT_EQ(onebeat_attention_variant(nullptr), nullptr);
  SoundCalls calls(small_batch());
  onebeat_planner_destroy(as_another<onebeat_planner>(calls.attention));
  onebeat_attention_destroy(as_another<onebeat_attention>(calls.pool));
  onebeat_thread_pool_destroy(as_another<onebeat_thread_pool>(calls.planner));
  EXPECT_EQ(onebeat_attention_variant(as_another<onebeat_attention>(calls.planner)), nullptr);
  ASSERT_EQ(calls.prepare(), ONEBEAT_OK) << calls.error.message;
  ASSERT_EQ(calls.decode(), ONEBEAT_OK) << calls.error.message;
  calls.batch.expect_oracle("after wrong handles");
}

}  // namespace
}  // namespace onebeat::c_api
