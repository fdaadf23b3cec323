// SPDX-License-Identifier: Apache-2.0
// One class of layers: heads, geometry, tuning, pools.
#include "c_api/answer.h"
#include "c_api/attention_structs.h"
#include "c_api/executors/executor.h"
#include "c_api/step_structs.h"
#include "c_api/structs.h"

namespace onebeat::c_api {
namespace {

/// What a plan for a CPU is divided into: its threads share the workers, however many there are.
constexpr std::int32_t kCpuTileTokens = 64;
constexpr std::int32_t kCpuWorkers = 32;

Result<CostModel> tune(std::int32_t device, AttentionGeometry& geometry) {
  if (device != ONEBEAT_CPU) return tune_for_cuda(device, geometry);
  geometry.tile_tokens = kCpuTileTokens;
  geometry.workers = kCpuWorkers;
  return CostModel{};
}

Result<onebeat_kv_pool> describe(const onebeat_geometry* given, onebeat_kv_layout layout,
                                 std::int64_t num_pages, void* k, void* v) {
  ONEBEAT_ASSIGN_OR_RETURN(const AttentionGeometry geometry, geometry_from(given));
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  ONEBEAT_RETURN_IF_ERROR(check_choice("layout of the KV pool", layout, 2));
  if (num_pages < 0 || num_pages > 0x7fffffff) {
    return out_of_range("KV pool of {} pages; it takes 0 to 2147483647", num_pages);
  }
  const KvPool kv = make_kv_pool(geometry, static_cast<KvLayout>(layout), num_pages, k, v);
  onebeat_kv_pool pool = {};
  pool.k = k;
  pool.v = v;
  pool.num_pages = num_pages;
  pool.page_tokens = kv.page_tokens;
  pool.num_kv_heads = kv.num_kv_heads;
  pool.head_dim = kv.head_dim;
  pool.head_dim_v = kv.head_dim_v;
  pool.type = static_cast<onebeat_type>(kv.type);
  pool.k_page_stride = kv.k_page_stride;
  pool.k_token_stride = kv.k_token_stride;
  pool.k_head_stride = kv.k_head_stride;
  pool.v_page_stride = kv.v_page_stride;
  pool.v_token_stride = kv.v_token_stride;
  pool.v_head_stride = kv.v_head_stride;
  return pool;
}

}  // namespace
}  // namespace onebeat::c_api

using namespace onebeat::c_api;  // NOLINT: this file is the border
using onebeat::Status;

onebeat_status onebeat_heads_of_rank(int32_t ranks, int32_t* num_heads, int32_t* num_kv_heads,
                                     onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("num_heads", num_heads));
    ONEBEAT_RETURN_IF_ERROR(check_pointer("num_kv_heads", num_kv_heads));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::HeadCounts heads,
                             onebeat::heads_of_rank({*num_heads, *num_kv_heads}, ranks));
    *num_heads = heads.num_heads;
    *num_kv_heads = heads.num_kv_heads;
    return {};
  });
}

onebeat_status onebeat_check_geometry(const onebeat_geometry* geometry, onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::AttentionGeometry read, geometry_from(geometry));
    return validate(read);
  });
}

onebeat_status onebeat_tune(int32_t device, onebeat_geometry* geometry, onebeat_cost_model* cost,
                            onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(onebeat::AttentionGeometry tuned, geometry_from(geometry));
    ONEBEAT_RETURN_IF_ERROR(check_size(cost, "cost model"));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::CostModel model, tune(device, tuned));
    geometry->tile_tokens = tuned.tile_tokens;
    geometry->workers = tuned.workers;
    onebeat_cost_model filled = {};
    filled.segment_overhead = model.segment_overhead;
    filled.min_tiles = model.min_tiles;
    filled.min_worker_cost = model.min_worker_cost;
    write_struct(filled, cost);
    return {};
  });
}

onebeat_status onebeat_kv_pool_describe(const onebeat_geometry* geometry, onebeat_kv_layout layout,
                                        int64_t num_pages, void* k, void* v, onebeat_kv_pool* pool,
                                        onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("pool", pool));
    ONEBEAT_ASSIGN_OR_RETURN(*pool, describe(geometry, layout, num_pages, k, v));
    return {};
  });
}
