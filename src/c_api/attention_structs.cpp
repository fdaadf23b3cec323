// SPDX-License-Identifier: Apache-2.0
#include "c_api/attention_structs.h"

namespace onebeat::c_api {
namespace {

static_assert(ONEBEAT_TYPE_F32 == static_cast<int>(RowType::kF32));
static_assert(ONEBEAT_TYPE_F16 == static_cast<int>(RowType::kF16));
static_assert(ONEBEAT_TYPE_BF16 == static_cast<int>(RowType::kBF16));
static_assert(ONEBEAT_MAX_MERGED_STATES == kMostMergedStates);

AttentionState state_from(const onebeat_attention_state& given) {
  return {given.rows,
          given.lse,
          given.token_stride,
          given.head_stride,
          given.lse_token_stride,
          given.lse_head_stride};
}

}  // namespace

static_assert(ONEBEAT_FAULT_PAGE_ID == static_cast<int>(kFaultPageId));
static_assert(ONEBEAT_FAULT_PAGE_ROW == static_cast<int>(kFaultPageRow));
static_assert(ONEBEAT_FAULT_SLOT == static_cast<int>(kFaultSlot));
static_assert(ONEBEAT_FAULT_PLAN == static_cast<int>(kFaultPlan));
static_assert(ONEBEAT_KV_RUNS == static_cast<int>(KvLayout::kRuns));
static_assert(ONEBEAT_KV_NHD == static_cast<int>(KvLayout::kNhd));

Result<KvPool> kv_pool_from(const onebeat_kv_pool& pool) {
  ONEBEAT_RETURN_IF_ERROR(check_choice("type of the KV pool", pool.type, 4));
  ONEBEAT_RETURN_IF_ERROR(check_reserved("the KV pool", pool.reserved));
  KvPool kv;
  kv.k = pool.k;
  kv.v = pool.v;
  kv.type = static_cast<KvType>(pool.type);
  kv.num_pages = pool.num_pages;
  kv.page_tokens = pool.page_tokens;
  kv.num_kv_heads = pool.num_kv_heads;
  kv.head_dim = pool.head_dim;
  kv.head_dim_v = pool.head_dim_v;
  kv.k_page_stride = pool.k_page_stride;
  kv.k_token_stride = pool.k_token_stride;
  kv.k_head_stride = pool.k_head_stride;
  kv.v_page_stride = pool.v_page_stride;
  kv.v_token_stride = pool.v_token_stride;
  kv.v_head_stride = pool.v_head_stride;
  kv.k_scales = pool.k_scales;
  kv.v_scales = pool.v_scales;
  return kv;
}

Status check_pool(const KvPool& kv, const AttentionGeometry& geometry) {
  if (kv.page_tokens == geometry.page_tokens && kv.num_kv_heads == geometry.num_kv_heads &&
      kv.head_dim == geometry.head_dim && kv.head_dim_v == geometry.head_dim_v &&
      kv.type == geometry.kv_type) {
    return {};
  }
  return plan_mismatch(
      "KV pool has pages of {} tokens, {} heads of {} and {}, element type {}; the geometry has "
      "{}, "
      "{} of {} and {}, type {}",
      kv.page_tokens, kv.num_kv_heads, kv.head_dim, kv.head_dim_v, name_of(kv.type),
      geometry.page_tokens, geometry.num_kv_heads, geometry.head_dim, geometry.head_dim_v,
      name_of(geometry.kv_type));
}

PageMap page_map_from(const onebeat_page_map& pages) {
  return {pages.pages, pages.row_stride, pages.num_rows, pages.num_columns, pages.row_of};
}

LseRows lse_from(const onebeat_lse_rows& lse) {
  return {lse.data, lse.size, lse.request_stride, lse.token_stride, lse.head_stride};
}

ScoreOptions score_from(const onebeat_attention_launch& launch) {
  return {launch.scale, launch.soft_cap, launch.sinks};
}

Result<AttentionScratch> scratch_from(const onebeat_scratch& scratch) {
  ONEBEAT_RETURN_IF_ERROR(check_reserved("scratch", scratch.reserved));
  ONEBEAT_RETURN_IF_ERROR(check_array("scratch.outputs", scratch.outputs, scratch.output_floats));
  ONEBEAT_RETURN_IF_ERROR(check_array("scratch.stats", scratch.stats, scratch.stats_floats));
  ONEBEAT_RETURN_IF_ERROR(check_array("scratch.counters", scratch.counters, scratch.num_counters));
  return AttentionScratch{{scratch.outputs, static_cast<std::size_t>(scratch.output_floats)},
                          {scratch.stats, static_cast<std::size_t>(scratch.stats_floats)},
                          {scratch.counters, static_cast<std::size_t>(scratch.num_counters)}};
}

Result<MergeStates> merge_from(const onebeat_merge_launch& launch,
                               const AttentionGeometry& geometry,
                               std::span<AttentionState> states) {
  ONEBEAT_RETURN_IF_ERROR(check_choice("type of the states", launch.type, 3));
  ONEBEAT_RETURN_IF_ERROR(check_array("states", launch.states, launch.num_states));
  const auto count = static_cast<std::size_t>(launch.num_states);
  if (count > states.size()) {
    return invalid_argument("{} states; one merge takes 1 to {}", count, states.size());
  }
  for (std::size_t i = 0; i < count; ++i) states[i] = state_from(launch.states[i]);
  MergeStates merge;
  merge.type = static_cast<RowType>(launch.type);
  merge.num_tokens = launch.num_tokens;
  merge.num_heads = geometry.num_heads;
  merge.dim = geometry.head_dim_v;
  merge.states = states.first(count);
  merge.result = state_from(launch.result);
  merge.sinks = launch.sinks;
  return merge;
}

Status check_version(const onebeat_plan& plan, const onebeat_attention_launch& launch) {
  if (launch.inputs_version == 0 || launch.inputs_version == plan.version) return {};
  return plan_mismatch(
      "the plan was made from version {} of the step's inputs, which are at version {}: prepare "
      "the step before its layers",
      plan.version, launch.inputs_version);
}

}  // namespace onebeat::c_api
