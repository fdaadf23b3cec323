// SPDX-License-Identifier: Apache-2.0
// Prefill attention on a CUDA device: prompts, or parts of prompts behind what the cache already
// holds, of one layer in one launch. The twin of prefill_attention() in onebeat/attention.h; all
// pointers in the structures are device memory here.
//
// Queries, outputs and the cache have one 16-bit type, that of AttentionGeometry::kv_type. Where
// the requests' tokens are and how long they are is read on the device, so a captured launch serves
// every later batch of the same limits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/attention_cuda.h"
#include "onebeat/geometry.h"
#include "onebeat/status.h"

struct CUstream_st;

namespace onebeat {

/// One compiled kernel. All give the same results up to rounding.
struct CudaPrefillVariant {
  std::string_view name;  ///< "boxes_d128": pages by tensor maps; "rows_d128": row by row.
  KvType type = KvType::kBF16;
  std::int32_t head_dim = 0;         ///< D, and Dv.
  std::int32_t query_tokens = 0;     ///< Query tokens of one head that a CTA does at a time.
  std::int32_t tile_tokens = 0;      ///< KV tokens that it does at a time.
  std::int32_t min_page_tokens = 1;  ///< Smaller pages need another variant.
  std::int32_t threads = 0;          ///< Of a CTA.
  std::int32_t shared_bytes = 0;     ///< Of a CTA.
};

/// All variants of this build. Static storage.
[[nodiscard]] std::span<const CudaPrefillVariant> cuda_prefill_variants();

/// The requests of a launch: request b has query tokens [query_begin[b], query_begin[b + 1]), which
/// are the last of its lens[b] KV tokens. All of them are in the cache already. Borrowed.
struct CudaPrefillBatch {
  const std::int32_t* query_begin = nullptr;  ///< Device: requests + 1 numbers, rising from 0.
  const std::int32_t* lens = nullptr;  ///< Device: 0, or at least the request's query tokens.
  std::int32_t requests = 0;
  std::int32_t query_tokens = 0;      ///< At least query_begin[requests].
  std::int32_t max_query_tokens = 0;  ///< At least the query tokens of any request.
};

/// Prefill attention of one class of layers. Immutable after create(); safe to use from many
/// threads.
class CudaPrefillAttention {
 public:
  /// `variant`: force one by name; empty: the fastest for the geometry. Of the geometry,
  /// tile_tokens, workers and max_query_tokens do not matter. Sets up the kernel on the current
  /// device. Errors: kUnsupported (head sizes, KV type, batch-invariant mode, unknown name, a
  /// device that cannot run it), kInvalidArgument, kUnavailable (no device).
  [[nodiscard]] static Result<CudaPrefillAttention> create(const AttentionGeometry& geometry,
                                                           std::string_view variant = {});

  [[nodiscard]] const CudaPrefillVariant& variant() const { return *variant_; }
  [[nodiscard]] const AttentionGeometry& geometry() const { return geometry_; }

  /// Enqueues one kernel. A request of length 0 gets output 0 and log-sum-exp -inf. A request whose
  /// numbers do not fit together or exceed the batch's limits is not done: kFaultPlan; one that is
  /// longer than the page map is done up to there: kFaultPageRow. Rows of outputs must be aligned
  /// to 16 bytes. `launch.kv_is_shared` and `launch.inputs_version` do not matter, and kEarlyLoads
  /// means kLaunch. Errors: kPlanMismatch (tensors of another geometry), kInvalidArgument,
  /// kOutOfRange, kUnsupported; nothing was enqueued then. Whatever CUDA reports.
  [[nodiscard]] Status launch(const CudaPrefillBatch& batch, const CudaAttentionLaunch& launch,
                              CUstream_st* stream) const;

 private:
  CudaPrefillAttention() = default;
  AttentionGeometry geometry_;
  const CudaPrefillVariant* variant_ = nullptr;
  std::int32_t multiprocessors_ = 0;
};

}  // namespace onebeat
