// SPDX-License-Identifier: Apache-2.0
// StepBatch: what one step is to compute, as the host decides it and an executor runs it. Plain
// data over borrowed memory.
#pragma once

#include <cstdint>
#include <span>

#include "kv/page_cache.h"
#include "onebeat/sampling.h"
#include "ops/token_counts.h"

namespace onebeat {

/// In place of a token that the host does not know yet: the one that the executor chose last for
/// this row.
inline constexpr std::int32_t kLastSampled = -1;

/// One more token of a decoding request.
struct DecodeRow {
  std::int32_t row = 0;       ///< Of the page map.
  std::int32_t token = 0;     ///< Or kLastSampled.
  std::int32_t position = 0;  ///< Its place in the request.
  /// Columns of the row from here on have changed since a step last named it.
  std::int32_t first_changed_page = 0;
};

/// Consecutive tokens of a prompt, or of a prompt and its reply that are computed again.
struct PromptPart {
  std::int32_t row = 0;
  std::int32_t position = 0;  ///< Of the first token.
  std::span<const std::int32_t> tokens;
  bool wants_logits = false;  ///< Of the last token.
  std::int32_t first_changed_page = 0;
  std::int32_t prompt_tokens = 0;  ///< Length of the request's whole prompt.
};

/// A token to choose. Several may take the same logits: completions of one prompt.
struct SampleOrder {
  /// Index among the step's logits: the decode rows', then those of the parts that want them.
  std::int32_t output = 0;
  std::int32_t row = 0;  ///< Whose next token it is.
  const SamplingParams* params = nullptr;
  std::uint64_t index = 0;                 ///< Of the token in the reply.
  const TokenCounts* counts = nullptr;     ///< Given if the parameters need them.
  std::span<const std::uint32_t> allowed;  ///< A token mask; empty: all ids.
};

/// The executor does the copies in their order, then the pass, then the choices.
struct StepBatch {
  std::span<const PageCopy> copies;
  std::span<const DecodeRow> decode;
  std::span<const PromptPart> parts;
  std::span<const SampleOrder> samples;
  [[nodiscard]] bool empty() const { return decode.empty() && parts.empty(); }
};

}  // namespace onebeat
