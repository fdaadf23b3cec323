// SPDX-License-Identifier: Apache-2.0
#include "c_api/step_structs.h"

#include <cstddef>

#include "c_api/structs.h"

namespace onebeat::c_api {
namespace {

static_assert(ONEBEAT_MAX_CLASSES == kMaxStepClasses);
static_assert(ONEBEAT_TYPE_F32 == static_cast<int>(KvType::kF32));
static_assert(ONEBEAT_TYPE_F16 == static_cast<int>(KvType::kF16));
static_assert(ONEBEAT_TYPE_BF16 == static_cast<int>(KvType::kBF16));
static_assert(ONEBEAT_TYPE_F8_E4M3 == static_cast<int>(KvType::kF8E4M3));
static_assert(ONEBEAT_INDEX_I32 == static_cast<int>(IndexType::kI32));
static_assert(ONEBEAT_INDEX_I64 == static_cast<int>(IndexType::kI64));
static_assert(ONEBEAT_PAGE_MAP_NONE == static_cast<int>(PageMapKind::kNone));
static_assert(ONEBEAT_PAGE_MAP_PAGES == static_cast<int>(PageMapKind::kPages));
static_assert(ONEBEAT_PAGE_MAP_SLOTS == static_cast<int>(PageMapKind::kSlots));
static_assert(ONEBEAT_TABLES_NONE == static_cast<int>(TableContract::kNone));
static_assert(ONEBEAT_TABLES_LIVE == static_cast<int>(TableContract::kLive));
static_assert(ONEBEAT_TABLES_DENSE == static_cast<int>(TableContract::kDense));
static_assert(sizeof(onebeat_page_update) == sizeof(PageUpdate));
static_assert(offsetof(onebeat_page_update, page) == offsetof(PageUpdate, page));

Result<IndexArray> array_from(const char* name, const onebeat_index_array& given) {
  ONEBEAT_RETURN_IF_ERROR(check_choice(name, given.type, 2).with_context("type of numbers"));
  ONEBEAT_RETURN_IF_ERROR(check_reserved(name, given.reserved));
  ONEBEAT_RETURN_IF_ERROR(check_array(name, given.data, given.size));
  return IndexArray(given.data, given.size, given.stride, static_cast<IndexType>(given.type));
}

Result<IndexTable> table_from(const char* name, const onebeat_index_table& given) {
  ONEBEAT_RETURN_IF_ERROR(check_choice(name, given.type, 2).with_context("type of numbers"));
  ONEBEAT_RETURN_IF_ERROR(check_reserved(name, given.reserved));
  return IndexTable{given.data,       given.rows,          given.columns,
                    given.row_stride, given.column_stride, static_cast<IndexType>(given.type)};
}

IntArray output_of(const onebeat_int_array& given) {
  return {given.data, given.size, given.stride};
}

IntTable output_of(const onebeat_int_table& given) {
  return {given.data, given.rows, given.columns, given.row_stride, given.column_stride};
}

PageUpdates updates_of(const onebeat_step& step) {
  PageUpdates updates;
  updates.begin = step.update_begin;
  updates.entries = reinterpret_cast<const PageUpdate*>(step.updates);
  updates.num_entries = step.num_updates;
  updates.page_rows = step.update_page_rows;
  return updates;
}

}  // namespace

Result<AttentionGeometry> geometry_from(const onebeat_geometry* given) {
  ONEBEAT_ASSIGN_OR_RETURN(const onebeat_geometry read, read_struct(given, "geometry"));
  ONEBEAT_RETURN_IF_ERROR(check_choice("kv_type", read.kv_type, 4));
  AttentionGeometry geometry;
  geometry.num_heads = read.num_heads;
  geometry.num_kv_heads = read.num_kv_heads;
  geometry.head_dim = read.head_dim;
  geometry.head_dim_v = read.head_dim_v;
  geometry.page_tokens = read.page_tokens;
  geometry.tile_tokens = read.tile_tokens;
  geometry.workers = read.workers;
  geometry.window_left = read.window_left;
  geometry.chunk_tokens = read.chunk_tokens;
  geometry.max_query_tokens = read.max_query_tokens;
  geometry.invariant_chunk_tokens = read.invariant_chunk_tokens;
  geometry.causal = read.causal != 0;
  geometry.kv_type = static_cast<KvType>(read.kv_type);
  return geometry;
}

Result<CostModel> cost_from(const onebeat_cost_model* given) {
  if (given == nullptr) return CostModel{};
  ONEBEAT_ASSIGN_OR_RETURN(const onebeat_cost_model read, read_struct(given, "cost model"));
  CostModel cost;
  cost.segment_overhead = read.segment_overhead;
  cost.min_tiles = read.min_tiles;
  cost.min_worker_cost = read.min_worker_cost;
  return cost;
}

Result<StepArguments> step_arguments_from(const onebeat_step& step) {
  ONEBEAT_RETURN_IF_ERROR(check_choice("page_map", step.page_map, 3));
  ONEBEAT_RETURN_IF_ERROR(check_choice("tables", step.tables, 3));
  ONEBEAT_RETURN_IF_ERROR(check_reserved("step", step.reserved));
  StepArguments arguments;
  arguments.num_requests = step.num_requests;
  arguments.num_active = step.num_active;
  ONEBEAT_ASSIGN_OR_RETURN(arguments.lens, array_from("lens", step.lens));
  arguments.lens_by_row = step.lens_by_row != 0;
  arguments.add_query_tokens = step.add_query_tokens != 0;
  arguments.len_delta = step.len_delta;
  arguments.query_tokens_each = step.query_tokens_each;
  ONEBEAT_ASSIGN_OR_RETURN(arguments.query_tokens, array_from("query_tokens", step.query_tokens));

  ONEBEAT_ASSIGN_OR_RETURN(arguments.rows_of, array_from("rows_of", step.rows_of));
  arguments.page_map = static_cast<PageMapKind>(step.page_map);
  ONEBEAT_ASSIGN_OR_RETURN(arguments.pages, table_from("pages", step.pages));
  arguments.updates = updates_of(step);
  arguments.pool_pages = step.pool_pages;
  ONEBEAT_ASSIGN_OR_RETURN(arguments.window_slot_of,
                           array_from("window_slot_of", step.window_slot_of));
  arguments.window_identity = step.window_identity != 0;

  arguments.out_lens = output_of(step.out_lens);
  arguments.cu_seqlens_q = output_of(step.cu_seqlens_q);
  arguments.cu_seqlens_k = output_of(step.cu_seqlens_k);
  arguments.positions = output_of(step.positions);
  arguments.slots = output_of(step.slots);
  arguments.window_slots = output_of(step.window_slots);
  arguments.tables = static_cast<TableContract>(step.tables);
  arguments.dense_pages = step.dense_pages;
  arguments.page_table = output_of(step.page_table);
  arguments.window_table = output_of(step.window_table);
  for (std::size_t c = 0; c < ONEBEAT_MAX_CLASSES; ++c) {
    arguments.plans[c] = static_cast<std::byte*>(step.plans[c]);
    arguments.counters[c] = step.counters[c];
  }
  return arguments;
}

}  // namespace onebeat::c_api
