// SPDX-License-Identifier: Apache-2.0
// Versions, errors and structs of other sizes than this library's.
#include <cstddef>
#include <cstring>
#include <string>

#include "c_api/answer.h"
#include "c_api/sound_calls_for_test.h"

namespace onebeat::c_api {
namespace {

// The layout of version 1. A change here breaks callers: it needs another ONEBEAT_ABI_VERSION,
// unless a struct that begins with `size` has grown at its end.
static_assert(ONEBEAT_ABI_VERSION == 1);
static_assert(sizeof(onebeat_error) == 512);
static_assert(sizeof(onebeat_geometry) == 56);
static_assert(sizeof(onebeat_cost_model) == 16);
static_assert(sizeof(onebeat_limits) == 24);
static_assert(sizeof(onebeat_sizes) == 64);
static_assert(sizeof(onebeat_plan) == 40);
static_assert(sizeof(onebeat_index_array) == 32);
static_assert(sizeof(onebeat_index_table) == 48);
static_assert(sizeof(onebeat_int_array) == 24);
static_assert(sizeof(onebeat_int_table) == 40);
static_assert(sizeof(onebeat_step) == 648);
static_assert(offsetof(onebeat_step, plans) == 496);
static_assert(sizeof(onebeat_kv_pool) == 112);
static_assert(sizeof(onebeat_page_map) == 32);
static_assert(sizeof(onebeat_head_rows) == 48);
static_assert(sizeof(onebeat_lse_rows) == 40);
static_assert(sizeof(onebeat_attention_launch) == 336);
static_assert(offsetof(onebeat_attention_launch, kv) == 160);
static_assert(sizeof(onebeat_scratch) == 56);
static_assert(sizeof(onebeat_prefill_batch) == 24);
static_assert(sizeof(onebeat_append_launch) == 248);
static_assert(sizeof(onebeat_attention_state) == 48);
static_assert(sizeof(onebeat_merge_launch) == 96);
static_assert(sizeof(onebeat_launch_record) == 24);
static_assert(sizeof(onebeat_trace) == 24);

TEST(CStatus, VersionsAndNames) {
  EXPECT_EQ(onebeat_abi_version(), ONEBEAT_ABI_VERSION);
  EXPECT_STREQ(onebeat_version(), ONEBEAT_TEST_VERSION);
#ifdef ONEBEAT_WITH_CUDA
  EXPECT_EQ(onebeat_has_cuda(), 1);
#else
  EXPECT_EQ(onebeat_has_cuda(), 0);
#endif
  for (onebeat_status status = ONEBEAT_OK; status <= ONEBEAT_INTERNAL; ++status) {
    EXPECT_EQ(std::string(onebeat_status_name(status)), to_string(static_cast<StatusCode>(status)));
  }
  EXPECT_STREQ(onebeat_status_name(-1), "unknown");
  EXPECT_STREQ(onebeat_status_name(12), "unknown");
}

TEST(CError, IsCutBetweenCharactersAndEndsWithANul) {
  onebeat_error error = onebeat_error_init();
  std::memset(error.message, 'x', sizeof error.message);
  std::string text(502, 'a');
  text += "\u00e9\u00e9";  // Two bytes each; the first would be cut in two.
  EXPECT_EQ(write_error(StatusCode::kNotFound, text, &error), ONEBEAT_NOT_FOUND);
  EXPECT_EQ(error.status, ONEBEAT_NOT_FOUND);
  EXPECT_EQ(std::string(error.message), std::string(502, 'a'));
  write_error(StatusCode::kOk, "", &error);
  EXPECT_EQ(error.status, ONEBEAT_OK);
  EXPECT_STREQ(error.message, "");
}

TEST(CError, OfAnySizeIsNotWrittenBeyond) {
  for (const std::uint32_t size : {0u, 4u, 8u, 9u, 12u, 512u, 600u, 0xffffffffu}) {
    struct {
      onebeat_error error;
      char beyond[8];
    } place;
    std::memset(&place, 0x5a, sizeof place);
    place.error.size = size;
    EXPECT_EQ(write_error(StatusCode::kInternal, std::string(1000, 'a'), &place.error),
              ONEBEAT_INTERNAL);
    const auto* bytes = reinterpret_cast<const unsigned char*>(&place);
    for (std::size_t i = std::max<std::size_t>(size, 4); i < sizeof place; ++i) {
      ASSERT_TRUE(bytes[i] == 0x5a || (i < 512 && size > 8)) << "byte " << i << " of " << size;
    }
    if (size > 8) {
      EXPECT_EQ(std::strlen(place.error.message), std::min<std::size_t>(size, 512) - 9);
    }
  }
}

TEST(CAnswer, ExceptionsBecomeStatuses) {
  onebeat_error error = onebeat_error_init();
  EXPECT_EQ(answer(&error, []() -> Status { throw std::bad_alloc(); }), ONEBEAT_RESOURCE_EXHAUSTED);
  EXPECT_STREQ(error.message, "out of memory");
  EXPECT_EQ(answer(&error, []() -> Status { throw 1; }), ONEBEAT_INTERNAL);
}

/// A struct as a later version of the header has it: with a field more.
template <typename T>
struct Grown {
  T known;
  std::uint64_t later;
};

TEST(CStructs, LongerOnesAreTakenAsLongAsTheRestIsZero) {
  Grown<onebeat_geometry> geometry = {};
  geometry.known = geometry_for_c(small_batch().geometry);
  geometry.known.size = sizeof geometry;
  onebeat_error error = onebeat_error_init();
  EXPECT_EQ(onebeat_check_geometry(&geometry.known, &error), ONEBEAT_OK) << error.message;
  geometry.later = 1;
  EXPECT_EQ(onebeat_check_geometry(&geometry.known, &error), ONEBEAT_UNSUPPORTED);
  EXPECT_THAT(error.message, testing::HasSubstr("does not know"));
}

TEST(CStructs, ShorterOrNeverSetSizesAreRefused) {
  for (const std::uint32_t size : {0u, 4u, 52u, 0xcdcdcdcdu}) {
    onebeat_geometry geometry = geometry_for_c(small_batch().geometry);
    geometry.size = size;
    EXPECT_EQ(onebeat_check_geometry(&geometry, nullptr), ONEBEAT_INVALID_ARGUMENT) << size;
  }
}

TEST(CStructs, OutputsOfALaterHeaderKeepTheirSizeAndEndInZeros) {
  SoundCalls calls(small_batch());
  Grown<onebeat_sizes> sizes;
  std::memset(&sizes, 0x5a, sizeof sizes);
  sizes.known.size = sizeof sizes;
  ASSERT_EQ(onebeat_planner_sizes(calls.planner.get(), 0, &sizes.known, &calls.error), ONEBEAT_OK);
  EXPECT_EQ(sizes.known.size, sizeof sizes);
  EXPECT_EQ(sizes.known.workers, 5);
  EXPECT_EQ(sizes.later, 0u);
}

TEST(CStructs, InitialisersGiveTheDefaultsOfTheCppStructs) {
  const AttentionGeometry defaults;
  const onebeat_geometry geometry = onebeat_geometry_init();
  EXPECT_EQ(geometry.page_tokens, defaults.page_tokens);
  EXPECT_EQ(geometry.tile_tokens, defaults.tile_tokens);
  EXPECT_EQ(geometry.workers, defaults.workers);
  EXPECT_EQ(geometry.window_left, defaults.window_left);
  EXPECT_EQ(geometry.chunk_tokens, defaults.chunk_tokens);
  EXPECT_EQ(geometry.max_query_tokens, defaults.max_query_tokens);
  EXPECT_EQ(geometry.invariant_chunk_tokens, defaults.invariant_chunk_tokens);
  EXPECT_EQ(geometry.causal != 0, defaults.causal);
  EXPECT_EQ(geometry.kv_type, static_cast<onebeat_type>(defaults.kv_type));
  const CostModel cost_defaults;
  const onebeat_cost_model cost = onebeat_cost_model_init();
  EXPECT_EQ(cost.segment_overhead, cost_defaults.segment_overhead);
  EXPECT_EQ(cost.min_tiles, cost_defaults.min_tiles);
  EXPECT_EQ(cost.min_worker_cost, cost_defaults.min_worker_cost);
  EXPECT_EQ(onebeat_limits_init().max_query_tokens, 1);
  EXPECT_EQ(onebeat_step_init().query_tokens_each, 1);
}

}  // namespace
}  // namespace onebeat::c_api
