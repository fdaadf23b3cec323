// SPDX-License-Identifier: Apache-2.0
// What can be said about a step's arguments without reading the memory they point to; both twins
// ask first.
#pragma once

#include "onebeat/step.h"

namespace onebeat::step {

/// Errors: kInvalidArgument, kOutOfRange naming the view, its size and what it takes.
[[nodiscard]] Status check_arguments(const StepArguments& step, const StepPlanner& planner);

/// KV tokens that one row of the page map has room for; 2^31 - 1 without a page map.
[[nodiscard]] std::int64_t page_map_tokens(const StepArguments& step, std::int32_t page_tokens);

/// KV tokens that the page tables have room for; 2^31 - 1 where that does not matter: no tables, or
/// a dense contract over no columns.
[[nodiscard]] std::int64_t table_tokens(const StepArguments& step, std::int32_t page_tokens);

}  // namespace onebeat::step
