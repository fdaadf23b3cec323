// SPDX-License-Identifier: Apache-2.0
// The compiled decode kernels; decode_mma*.cu and decode_wgmma*.cu instantiate them, a file for a
// family and element type, and decode_attention.cpp chooses.
#pragma once

#include <span>

#include "attention/cuda/decode/decode_params.h"
#include "onebeat/attention_cuda.h"

namespace onebeat::cuda {

struct DecodeKernel {
  CudaAttentionVariant variant;
  const void* function = nullptr;  ///< __global__, takes one DecodeParams.
};

[[nodiscard]] std::span<const DecodeKernel> mma_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> mma_f16_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> mma_f8_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> wgmma_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> wgmma_f16_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> mma_invariant_decode_kernels();
[[nodiscard]] std::span<const DecodeKernel> wgmma_invariant_decode_kernels();

/// Variants of all kernels; same order as cuda_attention_variants().
[[nodiscard]] std::span<const CudaAttentionVariant> decode_variants();

/// The function of a variant. Requires: an element of decode_variants().
[[nodiscard]] const void* decode_function(const CudaAttentionVariant& variant);

/// What a launch passes to its kernel. Requires: a launch that has passed the checks.
[[nodiscard]] DecodeParams decode_params(const AttentionGeometry& geometry, const CudaPlan& plan,
                                         const CudaAttentionLaunch& launch,
                                         const AttentionScratch& scratch);

}  // namespace onebeat::cuda
