// SPDX-License-Identifier: Apache-2.0
// Decode attention on device arrays.
#pragma once

#include "attention/host_attention.h"
#include "decode_plan.h"
#include "onebeat/attention_cuda.h"

namespace onebeat::python {

/// Enqueues decode attention. Throws what Python shows, a fault that an earlier call left included.
void decode_on_cuda(const CudaDecodeAttention& kernel, const CudaPlan& plan,
                    const ScratchSize& scratch, const AttentionTensors& tensors, ScoreOptions score,
                    void* stream);
void decode_on_cuda(const DecodePlan& plan, const AttentionTensors& tensors, ScoreOptions score,
                    void* stream);

/// The kernel of a geometry on a device; made once.
[[nodiscard]] const CudaDecodeAttention& kernel_of(const AttentionGeometry& geometry, int device);

}  // namespace onebeat::python
