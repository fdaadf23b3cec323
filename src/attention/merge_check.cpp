// SPDX-License-Identifier: Apache-2.0
#include "attention/merge_check.h"

#include <string>

#include "base/error.h"

namespace onebeat {
namespace {

Status check_state(const MergeStates& merge, const AttentionState& state, const std::string& name) {
  if (state.rows == nullptr) return invalid_argument("rows of {} are null", name);
  const auto size = static_cast<std::uintptr_t>(size_of(merge.type));
  if (reinterpret_cast<std::uintptr_t>(state.rows) % size != 0) {
    return invalid_argument("rows of {} are not aligned to their elements of {} bytes", name, size);
  }
  const bool apart = (merge.num_heads == 1 || state.head_stride >= merge.dim) &&
                     (merge.num_tokens == 1 || state.token_stride >= merge.dim);
  if (!apart || state.head_stride < 0 || state.token_stride < 0) {
    return invalid_argument("rows of {} have strides {} (token) and {} (head); rows of {} overlap",
                            name, state.token_stride, state.head_stride, merge.dim);
  }
  const bool lse_apart = (merge.num_heads == 1 || state.lse_head_stride >= 1) &&
                         (merge.num_tokens == 1 || state.lse_token_stride >= 1);
  if (state.lse != nullptr &&
      (!lse_apart || state.lse_head_stride < 0 || state.lse_token_stride < 0)) {
    return invalid_argument("log-sum-exp of {} has strides {} (token) and {} (head)", name,
                            state.lse_token_stride, state.lse_head_stride);
  }
  return {};
}

}  // namespace

Status check_merge(const MergeStates& merge) {
  if (merge.states.empty() || merge.states.size() > kMostMergedStates) {
    return invalid_argument("{} states to merge; it takes 1 to {}", merge.states.size(),
                            kMostMergedStates);
  }
  if (merge.num_tokens < 0 || merge.num_heads < 1 || merge.dim < 8 || merge.dim % 8 != 0) {
    return invalid_argument(
        "{} tokens of {} heads of {} to merge; heads must be 1 or more, of a multiple of 8",
        merge.num_tokens, merge.num_heads, merge.dim);
  }
  if (merge.num_tokens == 0) return {};
  for (std::size_t i = 0; i < merge.states.size(); ++i) {
    const std::string name = "state " + std::to_string(i);
    ONEBEAT_RETURN_IF_ERROR(check_state(merge, merge.states[i], name));
    if (merge.states[i].lse == nullptr) return invalid_argument("log-sum-exp of {} is null", name);
  }
  return check_state(merge, merge.result, "the result");
}

}  // namespace onebeat
