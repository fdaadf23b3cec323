// SPDX-License-Identifier: Apache-2.0
// Attention on host arrays.
#pragma once

#include <cstdint>
#include <span>

#include "arrays/attention_tensors.h"
#include "onebeat/attention.h"
#include "onebeat/plan.h"

namespace onebeat::python {

/// The tensors of one call. Optional ones may be empty.
struct AttentionTensors {
  Tensor q, k_cache, v_cache, page_table, out, lse, sinks, rows, k_scale, v_scale;
};

/// Each throws what Python shows and gives up Python's lock while it computes. Rows of out beyond
/// the batch's tokens are not touched.
void decode_on_host(const PlanView& plan, const ScratchSize& scratch,
                    const AttentionTensors& tensors, ScoreOptions score);
void prefill_on_host(const AttentionGeometry& geometry, const PrefillBatch& batch,
                     const AttentionTensors& tensors, ScoreOptions score);

}  // namespace onebeat::python
