// SPDX-License-Identifier: Apache-2.0
// Attention's structs from those of the C ABI. All but the element type of queries and outputs is
// the same for both twins.
#pragma once

#include "c_api/structs.h"
#include "onebeat/attention.h"
#include "onebeat/onebeat.h"

namespace onebeat::c_api {

/// Rows of elements of `type`, whose C++ type is T. Errors: kUnsupported (other elements).
template <typename T>
Result<HeadRows<T>> rows_from(const char* name, const onebeat_head_rows& rows, onebeat_type type) {
  ONEBEAT_RETURN_IF_ERROR(check_reserved(name, rows.reserved));
  if (rows.type != type) {
    return unsupported("{} has element type {}; this attention takes type {}", name, rows.type,
                       type);
  }
  return HeadRows<T>{static_cast<T*>(rows.data), rows.num_tokens, rows.num_heads, rows.dim,
                     rows.token_stride,          rows.head_stride};
}

[[nodiscard]] Result<KvPool> kv_pool_from(const onebeat_kv_pool& pool);
/// A pool to append to must be of the attention's geometry.
[[nodiscard]] Status check_pool(const KvPool& kv, const AttentionGeometry& geometry);
[[nodiscard]] PageMap page_map_from(const onebeat_page_map& pages);
[[nodiscard]] LseRows lse_from(const onebeat_lse_rows& lse);
[[nodiscard]] ScoreOptions score_from(const onebeat_attention_launch& launch);
[[nodiscard]] Result<AttentionScratch> scratch_from(const onebeat_scratch& scratch);

/// Fills `states`, which the result borrows.
[[nodiscard]] Result<MergeStates> merge_from(const onebeat_merge_launch& launch,
                                             const AttentionGeometry& geometry,
                                             std::span<AttentionState> states);

/// A plan must not be older than the inputs that a launch names.
[[nodiscard]] Status check_version(const onebeat_plan& plan,
                                   const onebeat_attention_launch& launch);

}  // namespace onebeat::c_api
