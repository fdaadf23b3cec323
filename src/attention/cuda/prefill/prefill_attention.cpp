// SPDX-License-Identifier: Apache-2.0
// Chooses a prefill kernel, checks what a launch is given, and enqueues it.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "attention/cuda/prefill/prefill_kernels.h"
#include "attention/cuda/prefill/prefill_params.h"
#include "attention/cuda/prefill/tensor_map.h"
#include "attention/launch_check.h"
#include "base/error.h"
#include "device/cuda_status.h"
#include "onebeat/attention_prefill_cuda.h"

namespace onebeat {
namespace {

bool serves(const CudaPrefillVariant& variant, const AttentionGeometry& geometry) {
  return variant.head_dim == geometry.head_dim && variant.type == geometry.kv_type &&
         variant.min_page_tokens <= geometry.page_tokens;
}

/// The first that serves: they are listed from the fastest on.
Result<const CudaPrefillVariant*> find_variant(const AttentionGeometry& geometry,
                                               std::string_view name) {
  for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
    if (!name.empty() && variant.name != name) continue;
    if (serves(variant, geometry)) return &variant;
    if (name.empty()) continue;
    return unsupported(
        "prefill kernel {} takes heads of {}, a cache of {} and pages of at least {} tokens; the "
        "geometry has {}, {} and {}",
        name, variant.head_dim, name_of(variant.type), variant.min_page_tokens, geometry.head_dim,
        name_of(geometry.kv_type), geometry.page_tokens);
  }
  if (!name.empty()) return unsupported("no prefill kernel is called '{}'", name);
  return unsupported("no prefill kernel has heads of {} and a cache of {}", geometry.head_dim,
                     name_of(geometry.kv_type));
}

Status check_geometry(const AttentionGeometry& geometry) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  if (geometry.head_dim != geometry.head_dim_v) {
    return unsupported("prefill kernels take equal heads of K and V; the geometry has {} and {}",
                       geometry.head_dim, geometry.head_dim_v);
  }
  if (geometry.invariant_chunk_tokens != 0) {
    return unsupported("prefill kernels have no batch-invariant mode");
  }
  return {};
}

bool aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

Status check_alignment(const CudaAttentionLaunch& launch) {
  const KvPool& kv = launch.kv;
  if (!aligned(launch.q.data) || !aligned(launch.out.data) || !aligned(kv.k) || !aligned(kv.v)) {
    return invalid_argument("queries, outputs and the KV pool must be aligned to 16 bytes");
  }
  for (const std::int64_t stride :
       {launch.q.token_stride, launch.q.head_stride, launch.out.token_stride,
        launch.out.head_stride, kv.k_page_stride, kv.k_token_stride, kv.k_head_stride,
        kv.v_page_stride, kv.v_token_stride, kv.v_head_stride}) {
    // 2^40 bytes is what a tensor map can span.
    if (stride % 8 != 0 || stride >= std::int64_t{1} << 39) {
      return invalid_argument(
          "a stride of queries, outputs or the KV pool is {} elements; it must be a multiple of 8 "
          "below 2^39",
          stride);
    }
  }
  return {};
}

Status check_batch(const CudaPrefillBatch& batch) {
  if (batch.requests < 0 || batch.query_tokens < 0 || batch.max_query_tokens < 0) {
    return out_of_range("prefill of {} requests with {} query tokens, at most {} each",
                        batch.requests, batch.query_tokens, batch.max_query_tokens);
  }
  if (batch.requests > 0 && (batch.query_begin == nullptr || batch.lens == nullptr)) {
    return invalid_argument("prefill of {} requests without their query offsets or lengths",
                            batch.requests);
  }
  return {};
}

Status check_tensors(const AttentionGeometry& geometry, const CudaPrefillBatch& batch,
                     const CudaAttentionLaunch& launch) {
  LaunchExtent extent;
  extent.requests = batch.requests;
  extent.query_tokens = batch.query_tokens;
  extent.max_query_tokens = batch.max_query_tokens;
  extent.longest = batch.requests > 0 ? 1 : 0;
  ONEBEAT_RETURN_IF_ERROR(check_launch(geometry, launch, extent));
  if (launch.faults == nullptr) return invalid_argument("a launch needs a word for faults");
  if (launch.q.num_tokens > std::numeric_limits<std::int32_t>::max()) {
    return out_of_range("{} query tokens; at most 2147483647", launch.q.num_tokens);
  }
  return check_alignment(launch);
}

cuda::PrefillParams params_of(const AttentionGeometry& geometry, const CudaPrefillBatch& batch,
                              const CudaAttentionLaunch& launch) {
  cuda::PrefillParams p;
  p.query_begin = batch.query_begin;
  p.lens = batch.lens;
  p.requests = static_cast<std::uint32_t>(batch.requests);
  p.num_query_tokens = static_cast<std::uint32_t>(batch.query_tokens);
  p.max_query_tokens = static_cast<std::uint32_t>(batch.max_query_tokens);
  p.heads = static_cast<std::uint32_t>(geometry.num_heads);
  p.heads_per_kv_head = static_cast<std::uint32_t>(heads_per_kv_head(geometry));
  p.page_shift = static_cast<std::uint32_t>(
      std::countr_zero(static_cast<std::uint32_t>(geometry.page_tokens)));
  p.window_left = geometry.window_left;
  p.chunk_tokens = static_cast<std::uint32_t>(geometry.chunk_tokens);
  p.causal = geometry.causal ? 1 : 0;
  p.scale = launch.score.scale;
  p.soft_cap = launch.score.soft_cap;
  p.sinks = launch.score.sinks;
  p.q = launch.q.data;
  p.out = launch.out.data;
  p.q_token_stride = launch.q.token_stride;
  p.q_head_stride = launch.q.head_stride;
  p.out_token_stride = launch.out.token_stride;
  p.out_head_stride = launch.out.head_stride;
  p.lse = launch.lse.data;
  p.lse_size = launch.lse.size;
  p.lse_request_stride = launch.lse.request_stride;
  p.lse_token_stride = launch.lse.token_stride;
  p.lse_head_stride = launch.lse.head_stride;
  p.k = launch.kv.k;
  p.v = launch.kv.v;
  p.k_page_stride = launch.kv.k_page_stride;
  p.k_token_stride = launch.kv.k_token_stride;
  p.k_head_stride = launch.kv.k_head_stride;
  p.v_page_stride = launch.kv.v_page_stride;
  p.v_token_stride = launch.kv.v_token_stride;
  p.v_head_stride = launch.kv.v_head_stride;
  p.num_pages = static_cast<std::uint32_t>(launch.kv.num_pages);
  p.pages = launch.pages.pages;
  p.row_of = launch.pages.row_of;
  p.row_stride = launch.pages.row_stride;
  p.num_rows = static_cast<std::uint32_t>(launch.pages.num_rows);
  p.num_columns = static_cast<std::uint32_t>(launch.pages.num_columns);
  p.status = launch.faults;
  return p;
}

/// Boxes of a panel: 64 elements wide, 64 query tokens or a page's part of a KV tile high.
Status add_maps(cuda::PrefillParams& p, const CudaPrefillVariant& variant,
                const CudaAttentionLaunch& launch) {
  const KvPool& kv = launch.kv;
  const std::int32_t box = std::min(kv.page_tokens, variant.tile_tokens);
  const auto pool_map = [&](const void* data, std::int64_t page_stride, std::int64_t token_stride,
                            std::int64_t head_stride) {
    return cuda::make_tensor_map(
        variant.type, data,
        std::array<cuda::TensorMapDimension, 4>{{{kv.head_dim, 1, 64},
                                                 {kv.num_kv_heads, head_stride, 1},
                                                 {kv.page_tokens, token_stride, box},
                                                 {kv.num_pages, page_stride, 1}}});
  };
  ONEBEAT_ASSIGN_OR_RETURN(p.k_map,
                           pool_map(kv.k, kv.k_page_stride, kv.k_token_stride, kv.k_head_stride));
  ONEBEAT_ASSIGN_OR_RETURN(p.v_map,
                           pool_map(kv.v, kv.v_page_stride, kv.v_token_stride, kv.v_head_stride));
  ONEBEAT_ASSIGN_OR_RETURN(
      p.q_map, cuda::make_tensor_map(variant.type, launch.q.data,
                                     std::array<cuda::TensorMapDimension, 3>{
                                         {{launch.q.dim, 1, 64},
                                          {launch.q.num_heads, launch.q.head_stride, 1},
                                          {launch.q.num_tokens, launch.q.token_stride, 64}}}));
  return {};
}

}  // namespace

Result<CudaPrefillAttention> CudaPrefillAttention::create(const AttentionGeometry& geometry,
                                                          std::string_view variant) {
  ONEBEAT_RETURN_IF_ERROR(check_geometry(geometry));
  CudaPrefillAttention attention;
  ONEBEAT_ASSIGN_OR_RETURN(attention.variant_, find_variant(geometry, variant));
  attention.geometry_ = geometry;
  int device = 0;
  int major = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major != 9) {
    return unsupported("prefill kernels need a GPU of compute capability 9.0; device {} has {}.x",
                       device, major);
  }
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&attention.multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaFuncSetAttribute(
      cuda::prefill_kernel(*attention.variant_).function,
      cudaFuncAttributeMaxDynamicSharedMemorySize, attention.variant_->shared_bytes));
  return attention;
}

Status CudaPrefillAttention::launch(const CudaPrefillBatch& batch,
                                    const CudaAttentionLaunch& launch, CUstream_st* stream) const {
  ONEBEAT_RETURN_IF_ERROR(check_batch(batch));
  ONEBEAT_RETURN_IF_ERROR(check_tensors(geometry_, batch, launch));
  if (batch.requests == 0 || batch.query_tokens == 0) return {};
  cuda::PrefillParams params = params_of(geometry_, batch, launch);
  const cuda::PrefillKernel& kernel = cuda::prefill_kernel(*variant_);
  if (kernel.boxes) ONEBEAT_RETURN_IF_ERROR(add_maps(params, *variant_, launch));
  const std::int64_t tiles =
      (std::int64_t{batch.query_tokens} / variant_->query_tokens + batch.requests) *
      geometry_.num_heads;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(std::min<std::int64_t>(tiles, multiprocessors_)));
  config.blockDim = dim3(static_cast<unsigned>(variant_->threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(variant_->shared_bytes);
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  if (launch.overlap != CudaOverlap::kNone) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  void* arguments[] = {&params};
  return cuda_status(cudaLaunchKernelExC(&config, kernel.function, arguments), "prefill attention");
}

}  // namespace onebeat
