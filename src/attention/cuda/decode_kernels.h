// SPDX-License-Identifier: Apache-2.0
// The compiled decode kernels; decode_mma.cu instantiates them, decode_attention.cpp chooses.
#pragma once

#include <span>

#include "onebeat/attention_cuda.h"

namespace onebeat::cuda {

/// Same order as cuda_attention_variants().
[[nodiscard]] std::span<const CudaAttentionVariant> decode_variants();

/// The __global__ function of a variant: takes one DecodeParams. Requires: an element of
/// decode_variants().
[[nodiscard]] const void* decode_function(const CudaAttentionVariant& variant);

}  // namespace onebeat::cuda
