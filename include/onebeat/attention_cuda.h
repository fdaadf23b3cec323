// SPDX-License-Identifier: Apache-2.0
// Decode attention on a CUDA device: one launch per layer executes a plan that lies in device
// memory, splits and merges included. Structures and letters are those of onebeat/attention.h; all
// pointers in them are device memory here. Queries and outputs are fp16 if the KV cache is, else
// bf16.
//
// Everything that a launch reads at run time (lengths, divisions, page ids) comes from the plan and
// the page map, so a captured launch serves every later step of the same limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/attention.h"
#include "onebeat/cascade.h"
#include "onebeat/geometry.h"
#include "onebeat/plan.h"
#include "onebeat/status.h"

struct CUstream_st;

namespace onebeat {

/// One compiled kernel. All give the same results up to rounding.
struct CudaAttentionVariant {
  std::string_view name;      ///< "mma_d128_r8", "wgmma_d128_f16", ...
  std::int32_t head_dim = 0;  ///< D, and Dv.
  KvType kv_type =
      KvType::kBF16;             ///< Of the cache; queries and outputs: fp16 with fp16, else bf16.
  std::int32_t tile_tokens = 0;  ///< N that the plan must have.
  std::int32_t query_rows = 0;   ///< R * T done in one pass over the cache; more take more passes.
  std::int32_t min_page_tokens = 1;  ///< Smaller pages need another variant.
  std::int32_t threads = 0;          ///< Of a CTA.
  std::int32_t shared_bytes = 0;     ///< Of a CTA; two fit a multiprocessor.
  bool batch_invariant = false;      ///< Executes plans of batch-invariant mode, and no others.
};

/// All variants of this build. Static storage.
[[nodiscard]] std::span<const CudaAttentionVariant> cuda_attention_variants();

/// How one class of layers is planned for a device: put tile_tokens and workers into the geometry
/// and give the cost model to the planner. For batch-invariant mode, put invariant_chunk_tokens
/// into the geometry too, and give the planner invariant_cost. Measured on an H200
/// (docs/kernels.md).
struct CudaAttentionTuning {
  std::int32_t tile_tokens = 64;
  std::int32_t workers = 1;
  CostModel cost;
  std::int32_t invariant_chunk_tokens = 0;
  CostModel invariant_cost;
  CascadeCost cascade;  ///< For a CascadePlanner.
};

/// Tuning for heads of `head_dim` and a cache of `kv_type` on a device with this many
/// multiprocessors. Errors: kUnsupported (no kernel has this head size or type).
[[nodiscard]] Result<CudaAttentionTuning> cuda_attention_tuning(std::int32_t head_dim,
                                                                KvType kv_type,
                                                                std::int32_t multiprocessors);

/// A plan in device memory. Borrowed.
struct CudaPlan {
  const std::byte* data = nullptr;  ///< 16-byte aligned.
  std::uint32_t stamp = 0;          ///< plan_stamp() of the geometry that it was planned for.
  std::int32_t workers = 0;         ///< W of that geometry.
  std::int32_t capacity = 0;        ///< PlanLimits::max_requests of its planner.
  /// Which version of the step's inputs it was made from, as the caller counts them.
  std::uint64_t version = 0;
};

/// What may start before the kernels that a launch follows are complete.
enum class CudaOverlap : std::uint8_t {
  kNone,        ///< An ordinary launch.
  kLaunch,      ///< Programmatic dependent launch: CTAs start early and wait before they read.
  kEarlyLoads,  ///< Also plan, page map and KV of earlier steps are read before the wait, and the
                ///< next launch may start at once. Requires that between the kernel that wrote them
                ///< and this launch there is one that waits for that kernel before it lets others
                ///< start: any ordinary launch, or attention with kNone or kLaunch (layer 1 and
                ///< later: true if layer 0 is such a one).
};

/// What a launch computes on.
struct CudaAttentionLaunch {
  HeadRows<const std::uint16_t> q;  ///< [tokens, H, D]; bf16 or fp16; rows 16-byte aligned.
  HeadRows<std::uint16_t> out;      ///< [tokens, H, D]; rows 8-byte aligned; overlaps no input.
  LseRows lse;
  ScoreOptions score;
  KvPool kv;  ///< 16-byte aligned rows; page and token strides below 4 GiB.
  PageMap pages;
  CudaOverlap overlap = CudaOverlap::kNone;
  bool kv_is_shared = false;  ///< Other requests read the same pages: keep them in L2.
  /// Version of the step's inputs (batch and lengths) at this launch: a plan of another version is
  /// stale and refused. 0: not compared; right for launches that a graph captures, whose plan is
  /// made anew in every replay.
  std::uint64_t inputs_version = 0;
  /// AttentionFault bits are or-ed into it by the device; device memory or mapped host memory.
  std::uint32_t* faults = nullptr;
};

/// Decode attention of one class of layers. Immutable after create(); safe to use from many threads
/// as long as concurrent streams have a scratch each.
class CudaDecodeAttention {
 public:
  /// `variant`: force one by name, or the best of a family ("mma", "wgmma"); empty: the one that
  /// measurements call the fastest for the geometry. Sets up the kernel on the current device.
  /// Errors: kUnsupported (head sizes, KV type, unknown name, a kernel of the other mode),
  /// kPlanMismatch (tile_tokens is not the variant's), kInvalidArgument, kUnavailable (no device).
  [[nodiscard]] static Result<CudaDecodeAttention> create(const AttentionGeometry& geometry,
                                                          std::string_view variant = {});

  [[nodiscard]] const CudaAttentionVariant& variant() const { return *variant_; }
  [[nodiscard]] const AttentionGeometry& geometry() const { return geometry_; }

  /// Enqueues one kernel. Rows of requests from the plan's num_active on are not touched; a request
  /// of length 0 gets output 0 and log-sum-exp -inf. In batch-invariant mode (a geometry with
  /// invariant_chunk_tokens) the bits of a query token depend only on its request's tokens, and on
  /// the variant; requests have up to 4,096 chunks, and a longer one gives kFaultPlan. `scratch`:
  /// ScratchSize of the planner in device memory, counters zero before the first launch; each
  /// launch leaves them zero. A plan whose records carry another stamp is not executed: kFaultPlan.
  /// Errors: kPlanMismatch (a plan or tensors of another geometry, a stale plan), kInvalidArgument,
  /// kUnsupported; nothing was enqueued then. Whatever CUDA reports.
  [[nodiscard]] Status launch(const CudaPlan& plan, const CudaAttentionLaunch& launch,
                              const AttentionScratch& scratch, CUstream_st* stream) const;

 private:
  CudaDecodeAttention() = default;
  AttentionGeometry geometry_;
  std::uint32_t stamp_ = 0;
  const CudaAttentionVariant* variant_ = nullptr;
};

/// New K and V of a step to be stored in a cache on a device: the twin of AppendLaunch. All
/// pointers are device memory.
struct CudaAppendLaunch {
  HeadRows<const std::uint16_t> k;    ///< [tokens, G, D]; rows 16-byte aligned.
  HeadRows<const std::uint16_t> v;    ///< [tokens, G, Dv]; likewise.
  KvType input_type = KvType::kBF16;  ///< Of k and v: kBF16 or kF16.
  /// One for each token: page * P + offset, or -1: do not store this token. No two tokens may have
  /// one slot. Read by each launch, so that a captured one serves every later step.
  std::span<const std::int32_t> slots;
  /// Of bf16, fp16 or fp8 e4m3 (with scales, KvPool::k_scales); rows of heads 16-byte aligned.
  KvPool kv;
  /// kEarlyLoads is as kLaunch: nothing is read before the kernels before it are complete.
  CudaOverlap overlap = CudaOverlap::kNone;
  /// kFaultSlot is or-ed into it by the device for slots outside the pool, whose tokens are not
  /// stored; device memory or mapped host memory.
  std::uint32_t* faults = nullptr;
};

/// Enqueues one kernel (none without slots) that stores K and V of slots.size() tokens: the bits
/// that append_kv() stores on a CPU, but for which NaN stands for one in 16 bits. Errors:
/// kPlanMismatch (heads or head sizes of k or v), kInvalidArgument, kUnsupported (types); nothing
/// was enqueued then. Whatever CUDA reports.
[[nodiscard]] Status append_kv(const CudaAppendLaunch& launch, CUstream_st* stream);

/// merge_states() on the current device: enqueues one kernel. Pointers are device memory; rows and
/// their strides are multiples of 16 bytes. Errors: kInvalidArgument, kOutOfRange (rows of a
/// launch); nothing was enqueued then. Whatever CUDA reports.
[[nodiscard]] Status cuda_merge_states(const MergeStates& merge, CUstream_st* stream);

}  // namespace onebeat
