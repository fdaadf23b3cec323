// SPDX-License-Identifier: Apache-2.0
// Chooses a decode kernel, checks what a launch is given, and enqueues it.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "attention/cuda/decode/decode_kernels.h"
#include "attention/cuda/decode/decode_params.h"
#include "attention/launch_check.h"
#include "base/error.h"
#include "device/cuda_capability.h"
#include "device/cuda_status.h"
#include "device/profiler_range.h"
#include "onebeat/attention_cuda.h"
#include "plan/division.h"

namespace onebeat {
namespace {

/// Units of more partial results than this are merged in two levels: one CTA would read too many.
constexpr std::uint32_t kFlatMergeLimit = 24;

/// A segment costs as much as a tile: what warps and CTAs do once a segment, in 1/256 tile.
constexpr std::uint32_t kSegmentOverhead = 256;

/// Fewer tiles than this, a segment's overhead among them, are not worth a worker of their own: its
/// partial result must be merged. With 2 1/2 to 4 batches whose requests are of even length gain
/// nothing and others lose much.
constexpr std::uint32_t kLeastWorkerCost = 2 * 256;

/// Chunks of batch-invariant mode. Shorter ones are closed more often, longer ones leave workers
/// without work.
constexpr std::int32_t kInvariantChunkTokens = 256;

/// Of batch-invariant mode. A worker gets at least two chunks, and segments cost next to nothing:
/// batches that divide evenly then have as many workers as have the same number of chunks. One
/// worker fewer, and one has two partial segments, one behind the other.
constexpr std::uint32_t kInvariantSegmentOverhead = 1;
constexpr std::uint32_t kLeastInvariantTokens = 2 * kInvariantChunkTokens;

/// A cascade pays from about so many saved tiles on: with 64 requests and a prefix of 2,048 tokens
/// (15,360 saved) it did on an H200, with 16 (3,840) it did not.
constexpr std::uint64_t kLeastSavedTiles = 5500;

/// Partial results of a prefix are full query tiles, which take longer to merge than so many tokens
/// to read.
constexpr std::uint32_t kLeastPrefixTokens = 1024;

/// Workers for each multiprocessor: two CTAs, so that one loads while the other merges or ends.
/// Slightly fewer than fit, for then powers of two of requests and heads divide among them without
/// a remainder, and the heads of a token are read at the same time, from the same DRAM pages.
constexpr std::int32_t workers_of(std::int32_t multiprocessors) {
  const std::int32_t fit = 2 * std::max(1, multiprocessors);
  const auto rounded = static_cast<std::int32_t>(std::bit_floor(static_cast<std::uint32_t>(fit)));
  return rounded * 8 >= fit * 7 ? rounded : fit;
}

bool serves(const CudaAttentionVariant& variant, const AttentionGeometry& geometry) {
  return variant.head_dim == geometry.head_dim && variant.kv_type == geometry.kv_type &&
         variant.min_page_tokens <= geometry.page_tokens &&
         variant.batch_invariant == (geometry.invariant_chunk_tokens != 0);
}

/// Which head sizes have kernels for a cache of this type in this mode; "none" if there are none.
std::string head_sizes_of(KvType type, bool batch_invariant) {
  std::vector<std::int32_t> sizes;
  for (const CudaAttentionVariant& variant : cuda::decode_variants()) {
    if (variant.kv_type == type && variant.batch_invariant == batch_invariant)
      sizes.push_back(variant.head_dim);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes.empty() ? "none" : fmt::format("{}", fmt::join(sizes, ", "));
}

Status no_kernel_for(std::int32_t head_dim, KvType type, bool batch_invariant) {
  return unsupported("no decode kernel has heads of {} and a {} cache{}; with {} there are: {}",
                     head_dim, name_of(type), batch_invariant ? " in batch-invariant mode" : "",
                     name_of(type), head_sizes_of(type, batch_invariant));
}

std::string_view family_of(const CudaAttentionVariant& variant) {
  return variant.name.substr(0, variant.name.find('_'));
}

/// Where both families take one pass over the cache: up to so many query rows mma is the faster
/// one, above them wgmma.
constexpr std::int32_t most_rows_of_mma(std::int32_t head_dim) {
  return head_dim == 64 ? 16 : 8;
}

/// wgmma instructions exist on Hopper alone.
bool runs_on(const CudaAttentionVariant& variant, CudaCapability device) {
  return family_of(variant) != "wgmma" || device.major == 9;
}

/// The fastest variant of a family ("mma", "wgmma"; empty: of all) on a device. Fewer passes over
/// the cache are always faster.
const CudaAttentionVariant* default_variant(const AttentionGeometry& geometry,
                                            std::string_view family, CudaCapability device) {
  const std::int32_t rows = heads_per_kv_head(geometry) * geometry.max_query_tokens;
  const std::string_view preferred = rows > most_rows_of_mma(geometry.head_dim) ? "wgmma" : "mma";
  const auto better = [&](const CudaAttentionVariant& one, const CudaAttentionVariant& other) {
    const std::int32_t passes = (rows + one.query_rows - 1) / one.query_rows;
    const std::int32_t others = (rows + other.query_rows - 1) / other.query_rows;
    if (passes != others) return passes < others;
    if (family_of(one) != family_of(other)) return family_of(one) == preferred;
    return one.min_page_tokens > other.min_page_tokens;
  };
  const CudaAttentionVariant* best = nullptr;
  for (const CudaAttentionVariant& variant : cuda::decode_variants()) {
    if (!serves(variant, geometry) || !runs_on(variant, device)) continue;
    if (!family.empty() && family_of(variant) != family) continue;
    if (best == nullptr || better(variant, *best)) best = &variant;
  }
  return best;
}

Result<const CudaAttentionVariant*> find_variant(const AttentionGeometry& geometry,
                                                 std::string_view name, CudaCapability device) {
  if (const CudaAttentionVariant* variant = default_variant(geometry, name, device)) {
    return variant;
  }
  if (name.empty()) {
    return no_kernel_for(geometry.head_dim, geometry.kv_type, geometry.invariant_chunk_tokens != 0);
  }
  for (const CudaAttentionVariant& variant : cuda::decode_variants()) {
    if (variant.name != name) continue;
    if (variant.batch_invariant != (geometry.invariant_chunk_tokens != 0)) {
      return unsupported(
          "decode kernel {} {} batch-invariant mode; the geometry has invariant_chunk_tokens = {}",
          name, variant.batch_invariant ? "is for" : "has no", geometry.invariant_chunk_tokens);
    }
    if (!serves(variant, geometry)) {
      return unsupported(
          "decode kernel {} takes heads of {}, a {} cache and pages of at least {} tokens; the "
          "geometry has {}, {} and {}",
          name, variant.head_dim, name_of(variant.kv_type), variant.min_page_tokens,
          geometry.head_dim, name_of(geometry.kv_type), geometry.page_tokens);
    }
    if (!runs_on(variant, device)) {
      return unsupported("decode kernel {} needs compute capability 9.0; the device has {}.{}",
                         name, device.major, device.minor);
    }
    return &variant;
  }
  return unsupported("no decode kernel or family of them is called '{}'", name);
}

Status check_geometry(const AttentionGeometry& geometry) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  if (geometry.head_dim != geometry.head_dim_v) {
    return unsupported("decode kernels take equal heads of K and V; the geometry has {} and {}",
                       geometry.head_dim, geometry.head_dim_v);
  }
  return {};
}

bool aligned(const void* data, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

Status check_alignment(const CudaAttentionLaunch& launch) {
  const KvPool& kv = launch.kv;
  const int element_bytes = size_of(kv.type);
  const bool rows_fit = aligned(launch.q.data, 16) && launch.q.token_stride % 8 == 0 &&
                        launch.q.head_stride % 8 == 0 && aligned(launch.out.data, 8) &&
                        launch.out.token_stride % 4 == 0 && launch.out.head_stride % 4 == 0;
  if (!rows_fit) {
    return invalid_argument(
        "rows of queries must be aligned to 16 bytes and rows of outputs to 8; their strides are "
        "{}, {} and {}, {} elements",
        launch.q.token_stride, launch.q.head_stride, launch.out.token_stride,
        launch.out.head_stride);
  }
  for (const std::int64_t stride : {kv.k_page_stride, kv.k_token_stride, kv.k_head_stride,
                                    kv.v_page_stride, kv.v_token_stride, kv.v_head_stride}) {
    if (stride * element_bytes % 16 != 0) {
      return invalid_argument("a stride of the KV pool is {} elements; it must be a multiple of {}",
                              stride, 16 / element_bytes);
    }
  }
  const std::int64_t most = std::numeric_limits<std::uint32_t>::max() / element_bytes;
  for (const std::int64_t stride :
       {kv.k_page_stride, kv.k_token_stride, kv.v_page_stride, kv.v_token_stride}) {
    if (stride > most) {
      return out_of_range("a stride of the KV pool is {} elements; it may be at most {}", stride,
                          most);
    }
  }
  if (!aligned(kv.k, 16) || !aligned(kv.v, 16)) {
    return invalid_argument("K and V of the KV pool must be aligned to 16 bytes");
  }
  return {};
}

Status check_plan_of(const CudaPlan& plan, const AttentionGeometry& geometry, std::uint32_t stamp) {
  if (plan.stamp != stamp || plan.workers != geometry.workers) {
    return plan_mismatch(
        "the plan has stamp {:#x} and {} workers; this attention has {:#x} and {}: planner and "
        "attention must share one geometry",
        plan.stamp, plan.workers, stamp, geometry.workers);
  }
  if (plan.data == nullptr || !aligned(plan.data, 16) || plan.capacity < 1) {
    return invalid_argument("the plan is null, unaligned or for {} requests", plan.capacity);
  }
  return {};
}

/// Tree nodes that a slot of the scratch has room for; 1 outside of batch-invariant mode.
std::int64_t nodes_per_slot(const AttentionScratch& scratch, const AttentionGeometry& geometry) {
  if (geometry.invariant_chunk_tokens == 0) return 1;
  const std::int64_t rows =
      2 * std::int64_t{geometry.workers} *
      std::min(kQueryTileRows, heads_per_kv_head(geometry) * geometry.max_query_tokens);
  return std::min(static_cast<std::int64_t>(scratch.outputs.size()) / (rows * geometry.head_dim_v),
                  static_cast<std::int64_t>(scratch.stats.size()) / (rows * 2));
}

Status check_scratch(const AttentionScratch& scratch, const AttentionGeometry& geometry) {
  const std::int64_t slots = 2 * std::int64_t{geometry.workers};
  const std::int64_t rows =
      slots * std::min(kQueryTileRows, heads_per_kv_head(geometry) * geometry.max_query_tokens);
  const auto outputs = static_cast<std::int64_t>(scratch.outputs.size());
  const auto stats = static_cast<std::int64_t>(scratch.stats.size());
  const auto counters = static_cast<std::int64_t>(scratch.counters.size());
  if (outputs < rows * geometry.head_dim_v || stats < rows * 2 || counters < 3 * geometry.workers) {
    return invalid_argument(
        "scratch has {} outputs, {} stats and {} counters; {}, {} and {} are needed", outputs,
        stats, counters, rows * geometry.head_dim_v, rows * 2, 3 * geometry.workers);
  }
  if (!aligned(scratch.outputs.data(), 16) || !aligned(scratch.stats.data(), 16)) {
    return invalid_argument("scratch must be aligned to 16 bytes");
  }
  if (const std::int64_t nodes = nodes_per_slot(scratch, geometry);
      nodes > cuda::kMostNodesPerSlot) {
    return out_of_range(
        "scratch has {} tree nodes in a slot, for requests of up to 2^{} chunks of {} tokens; "
        "decode "
        "kernels merge up to 2^{} chunks: raise invariant_chunk_tokens",
        nodes, nodes, geometry.invariant_chunk_tokens, cuda::kMostNodesPerSlot);
  }
  return {};
}

Status check_tensors(const AttentionGeometry& geometry, const CudaPlan& plan,
                     const CudaAttentionLaunch& launch) {
  LaunchExtent extent;
  extent.requests = launch.pages.row_of != nullptr
                        ? plan.capacity
                        : std::min<std::int64_t>(plan.capacity, launch.pages.num_rows);
  extent.query_tokens = std::min(launch.q.num_tokens, launch.out.num_tokens);
  extent.max_query_tokens = geometry.max_query_tokens;
  extent.longest = 1;
  ONEBEAT_RETURN_IF_ERROR(check_launch(geometry, launch, extent));
  if (launch.faults == nullptr) return invalid_argument("a launch needs a word for faults");
  if (launch.q.num_tokens > std::numeric_limits<std::int32_t>::max()) {
    return out_of_range("{} query tokens; at most 2147483647", launch.q.num_tokens);
  }
  return check_alignment(launch);
}

}  // namespace

cuda::DecodeParams cuda::decode_params(const AttentionGeometry& geometry, const CudaPlan& plan,
                                       const CudaAttentionLaunch& launch,
                                       const AttentionScratch& scratch) {
  const plan::Layout layout = plan::layout_of(static_cast<std::uint32_t>(plan.workers),
                                              static_cast<std::uint32_t>(plan.capacity));
  const auto bytes = [&](std::int64_t elements) {
    return static_cast<std::uint32_t>(elements * size_of(geometry.kv_type));
  };
  cuda::DecodeParams p;
  p.workers = reinterpret_cast<const WorkerRecord*>(plan.data + layout.workers_offset);
  p.requests = reinterpret_cast<const RequestRecord*>(plan.data + layout.requests_offset);
  p.query_begin = reinterpret_cast<const std::uint32_t*>(plan.data + layout.queries_offset);
  p.stamp = plan.stamp;
  p.capacity = static_cast<std::uint32_t>(plan.capacity);
  p.kv_heads = static_cast<std::uint32_t>(geometry.num_kv_heads);
  p.heads_per_kv_head = static_cast<std::uint32_t>(heads_per_kv_head(geometry));
  p.page_mask = static_cast<std::uint32_t>(geometry.page_tokens - 1);
  p.page_shift = static_cast<std::uint32_t>(std::popcount(p.page_mask));
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
  p.num_query_tokens =
      static_cast<std::uint32_t>(std::min(launch.q.num_tokens, launch.out.num_tokens));
  p.lse = launch.lse.data;
  p.lse_size = launch.lse.size;
  p.lse_request_stride = launch.lse.request_stride;
  p.lse_token_stride = launch.lse.token_stride;
  p.lse_head_stride = launch.lse.head_stride;
  p.k = launch.kv.k;
  p.v = launch.kv.v;
  p.k_page_bytes = bytes(launch.kv.k_page_stride);
  p.k_token_bytes = bytes(launch.kv.k_token_stride);
  p.v_page_bytes = bytes(launch.kv.v_page_stride);
  p.v_token_bytes = bytes(launch.kv.v_token_stride);
  p.k_head_stride = launch.kv.k_head_stride;
  p.v_head_stride = launch.kv.v_head_stride;
  p.num_pages = static_cast<std::uint32_t>(launch.kv.num_pages);
  p.k_scales = launch.kv.k_scales;
  p.v_scales = launch.kv.v_scales;
  p.pages = launch.pages.pages;
  p.row_of = launch.pages.row_of;
  p.row_stride = launch.pages.row_stride;
  p.num_rows = static_cast<std::uint32_t>(launch.pages.num_rows);
  p.num_columns = static_cast<std::uint32_t>(launch.pages.num_columns);
  p.partial_outputs = scratch.outputs.data();
  p.partial_stats = scratch.stats.data();
  p.counters = scratch.counters.data();
  p.rows_per_slot = static_cast<std::uint32_t>(
      std::min(kQueryTileRows, heads_per_kv_head(geometry) * geometry.max_query_tokens));
  p.nodes_per_slot = static_cast<std::uint32_t>(nodes_per_slot(scratch, geometry));
  p.invariant_tiles =
      static_cast<std::uint32_t>(geometry.invariant_chunk_tokens / geometry.tile_tokens);
  p.flat_merge_limit = kFlatMergeLimit;
  p.early_loads = launch.overlap == CudaOverlap::kEarlyLoads ? 1 : 0;
  p.kv_is_shared = launch.kv_is_shared ? 1 : 0;
  p.status = launch.faults;
  return p;
}

std::span<const CudaAttentionVariant> cuda_attention_variants() {
  return cuda::decode_variants();
}

Result<CudaAttentionTuning> cuda_attention_tuning(std::int32_t head_dim, KvType kv_type,
                                                  std::int32_t multiprocessors) {
  for (const CudaAttentionVariant& variant : cuda::decode_variants()) {
    if (variant.head_dim != head_dim || variant.kv_type != kv_type) continue;
    CudaAttentionTuning tuning;
    tuning.tile_tokens = variant.tile_tokens;
    tuning.workers = workers_of(multiprocessors);
    tuning.cost.segment_overhead = kSegmentOverhead;
    tuning.cost.min_tiles = 1;
    tuning.cost.min_worker_cost = kLeastWorkerCost;
    tuning.cascade.launches = kLeastSavedTiles * 256;
    tuning.cascade.min_prefix_worker_cost =
        kLeastPrefixTokens * 256 / static_cast<std::uint32_t>(variant.tile_tokens);
    tuning.invariant_chunk_tokens = kInvariantChunkTokens;
    tuning.invariant_cost = tuning.cost;
    tuning.invariant_cost.segment_overhead = kInvariantSegmentOverhead;
    tuning.invariant_cost.min_worker_cost =
        kLeastInvariantTokens * 256 / static_cast<std::uint32_t>(variant.tile_tokens);
    return tuning;
  }
  return no_kernel_for(head_dim, kv_type, false);
}

Result<CudaDecodeAttention> CudaDecodeAttention::create(const AttentionGeometry& geometry,
                                                        std::string_view variant) {
  ONEBEAT_RETURN_IF_ERROR(check_geometry(geometry));
  CudaDecodeAttention attention;
  // What is wrong with the geometry is said without a device too.
  const Result<CudaCapability> device = current_capability();
  ONEBEAT_ASSIGN_OR_RETURN(
      attention.variant_,
      find_variant(geometry, variant, device.ok() ? *device : CudaCapability{9, 0}));
  if (attention.variant_->tile_tokens != geometry.tile_tokens) {
    return plan_mismatch("decode kernel {} has tiles of {} tokens; the geometry has {}",
                         attention.variant_->name, attention.variant_->tile_tokens,
                         geometry.tile_tokens);
  }
  ONEBEAT_RETURN_IF_ERROR(device.status());
  ONEBEAT_RETURN_IF_ERROR(check_capability(*device));
  attention.geometry_ = geometry;
  attention.stamp_ = plan_stamp(geometry);
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaFuncSetAttribute(cuda::decode_function(*attention.variant_),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    attention.variant_->shared_bytes));
  return attention;
}

Status CudaDecodeAttention::launch(const CudaPlan& plan, const CudaAttentionLaunch& launch,
                                   const AttentionScratch& scratch, CUstream_st* stream) const {
  const ProfilerRange range("decode_attention");
  ONEBEAT_RETURN_IF_ERROR(check_plan_of(plan, geometry_, stamp_));
  if (launch.inputs_version != 0 && launch.inputs_version != plan.version) {
    return plan_mismatch(
        "the plan was made from version {} of the step's inputs, which are at version {}: prepare "
        "the step before its layers",
        plan.version, launch.inputs_version);
  }
  ONEBEAT_RETURN_IF_ERROR(check_tensors(geometry_, plan, launch));
  ONEBEAT_RETURN_IF_ERROR(check_scratch(scratch, geometry_));
  cuda::DecodeParams params = cuda::decode_params(geometry_, plan, launch, scratch);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(geometry_.workers));
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
  return cuda_status(cudaLaunchKernelExC(&config, cuda::decode_function(*variant_), arguments),
                     "decode attention");
}

}  // namespace onebeat
