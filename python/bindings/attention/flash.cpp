// SPDX-License-Identifier: Apache-2.0
// The calls of FlashAttention-3 on our plan: metadata is a plan's bytes in a tensor of int32.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "arrays/views.h"
#include "attention/host_attention.h"
#include "bindings.h"
#include "decode_plan.h"
#include "devices.h"
#include "errors.h"
#include "step_preparer.h"

#ifdef ONEBEAT_WITH_CUDA
#include "attention/cuda_attention.h"
#include "attention/workspace.h"
#include "current_device.h"
#endif

namespace nb = nanobind;

namespace onebeat::python {
namespace {

/// Longest request that metadata is sized for at least; longer ones in powers of two.
constexpr std::int64_t kLeastContext = 131072;

/// Positions that the batch-invariant mode cuts at (num_splits = 1).
constexpr std::int32_t kInvariantChunk = 1024;

/// What decides a plan, as FlashAttention's callers say it.
struct PlanKey {
  int device = kHost;
  std::int32_t num_heads = 0, num_kv_heads = 0, head_dim = 0, head_dim_v = 0, page_tokens = 0,
               max_query_tokens = 1;
  std::int32_t window_left = -1, chunk_tokens = 0, num_splits = 0;
  bool causal = true;
  KvType kv_type = KvType::kBF16;
  friend bool operator==(const PlanKey&, const PlanKey&) = default;
};

/// Everything that is made once for a key.
struct PlanClass {
  PlanKey key;
  Geometry geometry;
  ScratchSize scratch;  // Of the ordinary mode.
  std::map<std::pair<std::int32_t, std::int64_t>, std::unique_ptr<StepPreparer>> preparers;

  /// For B requests of up to `max_context` tokens.
  StepPreparer& preparer(std::int32_t requests, std::int64_t max_context) {
    const std::int64_t context =
        std::max(kLeastContext,
                 static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(max_context))));
    const std::int64_t limited = std::min<std::int64_t>(context, 0x7fffffff);
    auto& preparer = preparers[{requests, limited}];
    if (preparer == nullptr) {
      preparer =
          std::make_unique<StepPreparer>(std::vector<Geometry>{geometry},
                                         StepLimits{.max_requests = requests,
                                                    .max_context_tokens = limited,
                                                    .max_query_tokens = key.max_query_tokens},
                                         key.device);
    }
    return *preparer;
  }

  /// In batch-invariant mode it grows with the longest request.
  ScratchSize scratch_for(std::int32_t requests, std::int64_t max_context) {
    return key.num_splits == 1 ? preparer(requests, max_context).planner().planner(0).scratch_size()
                               : scratch;
  }

  [[nodiscard]] std::size_t plan_bytes(std::int32_t requests) {
    return preparer(requests, 1).planner().plan_bytes(0);
  }
};

/// The class of a key; made once. Guarded by Python's lock.
PlanClass& class_of(const PlanKey& key) {
  static std::vector<std::unique_ptr<PlanClass>>* const known =
      new std::vector<std::unique_ptr<PlanClass>>;
  for (const auto& entry : *known) {
    if (entry->key == key) return *entry;
  }
  const CudaAttentionTuning tuning = tuning_of(key.head_dim, key.kv_type, key.device);
  auto made = std::make_unique<PlanClass>();
  made->key = key;
  made->geometry = {.fields = {.num_heads = key.num_heads,
                               .num_kv_heads = key.num_kv_heads,
                               .head_dim = key.head_dim,
                               .head_dim_v = key.head_dim_v,
                               .page_tokens = key.page_tokens,
                               .tile_tokens = tuning.tile_tokens,
                               .workers = tuning.workers,
                               .window_left = key.window_left,
                               .chunk_tokens = key.chunk_tokens,
                               .max_query_tokens = key.max_query_tokens,
                               .invariant_chunk_tokens = key.num_splits == 1 ? kInvariantChunk : 0,
                               .causal = key.causal,
                               .kv_type = key.kv_type},
                    .cost = tuning.cost};
  const Planner planner = value_or_raise(Planner::create(
      made->geometry.fields, made->geometry.cost, {.max_requests = 1, .max_context_tokens = 1}));
  made->scratch = planner.scratch_size();
#ifdef ONEBEAT_WITH_CUDA
  if (key.device != kHost)
    static_cast<void>(kernel_of(made->geometry.fields, key.device));  // Says what it lacks.
#endif
  known->push_back(std::move(made));
  return *known->back();
}

std::int32_t int32_of(std::int64_t value, const char* name) {
  if (value < 0 || value > 0x7fffffff) {
    raise_error("OutOfRangeError",
                fmt::format("{} is {}; it must be from 0 to 2147483647", name, value));
  }
  return static_cast<std::int32_t>(value);
}

/// Fills what both calls say in the same words.
void put_masks(std::int64_t max_seqlen_q, bool causal, std::int64_t window_left,
               std::int64_t window_right, std::int64_t attention_chunk, std::int64_t num_splits,
               PlanKey& key) {
  constexpr std::int64_t kMostQueryTokens = 16;
  if (max_seqlen_q < 1 || max_seqlen_q > kMostQueryTokens) {
    raise_error("UnsupportedError",
                fmt::format("max_seqlen_q is {}; decode takes 1 to {} query tokens of a request. "
                            "Prompts go through onebeat.prefill_attention",
                            max_seqlen_q, kMostQueryTokens));
  }
  if (num_splits != 0 && num_splits != 1) {
    raise_error(
        "UnsupportedError",
        fmt::format("num_splits is {}; it must be 0 (automatic) or 1 (batch-invariant): the "
                    "plan divides work over workers, not requests into splits",
                    num_splits));
  }
  if (window_left < -1 || window_right < -1) {
    raise_error("InvalidArgumentError",
                fmt::format("window_size is ({}, {}); each must be -1 (none) or at least 0",
                            window_left, window_right));
  }
  key.max_query_tokens = static_cast<std::int32_t>(max_seqlen_q);
  // The only query token of a request is its last: nothing is to its right.
  key.causal = causal || max_seqlen_q == 1 || window_right == 0;
  if (!key.causal && window_right > 0) {
    raise_error("UnsupportedError",
                fmt::format("window_size is ({}, {}); several query tokens that are not causal see "
                            "all later keys: the second must be -1 or 0",
                            window_left, window_right));
  }
  key.window_left = static_cast<std::int32_t>(std::min<std::int64_t>(window_left, 0x7fffffff));
  key.chunk_tokens = int32_of(attention_chunk, "attention_chunk");
  key.num_splits = static_cast<std::int32_t>(num_splits);
}

/// Query tokens of each request of a batch of host arrays.
std::vector<std::int32_t> query_tokens_of(const Tensor& cu_seqlens_q, std::int64_t requests,
                                          std::int64_t max_seqlen_q, std::int64_t total) {
  const auto at = [&](std::int64_t i) -> std::int64_t {
    return cu_seqlens_q.element() == Element::kI64
               ? cu_seqlens_q.data<const std::int64_t>()[i * cu_seqlens_q.stride(0)]
               : cu_seqlens_q.data<const std::int32_t>()[i * cu_seqlens_q.stride(0)];
  };
  std::vector<std::int32_t> tokens;
  for (std::int64_t b = 0; b < requests; ++b) {
    const std::int64_t count = at(b + 1) - at(b);
    if (count < 0 || count > max_seqlen_q || at(0) != 0) {
      raise_error("OutOfRangeError", fmt::format("cu_seqlens_q gives request {} {} query tokens "
                                                 "from {} on; they must rise from 0 by at most "
                                                 "max_seqlen_q, {}",
                                                 b, count, at(0), max_seqlen_q));
    }
    tokens.push_back(static_cast<std::int32_t>(count));
  }
  if (total >= 0 && at(requests) > total) {
    raise_error("OutOfRangeError",
                fmt::format("cu_seqlens_q ends at {}; q has {} tokens", at(requests), total));
  }
  return tokens;
}

/// Makes the plan of a batch at `plan`, which has room for it.
void make_plan(PlanClass& of_class, const Tensor& cache_seqlens, const Tensor& cu_seqlens_q,
               std::int64_t total_q, std::int64_t max_context, std::byte* plan, void* stream) {
  const auto requests = static_cast<std::int32_t>(cache_seqlens.size(0));
  StepArguments step;
  step.num_requests = requests;
  step.lens = index_array(cache_seqlens);
  step.query_tokens_each = of_class.key.max_query_tokens;
  std::vector<std::int32_t> tokens;
  if (!cu_seqlens_q.empty() && of_class.key.device == kHost) {
    tokens = query_tokens_of(cu_seqlens_q, requests, of_class.key.max_query_tokens, total_q);
    step.query_tokens = IndexArray(std::span<const std::int32_t>(tokens));
  }
  step.plans[0] = plan;
  of_class.preparer(requests, max_context).prepare(step, stream);
}

void check_cu_seqlens_q(const Tensor& cu_seqlens_q, std::int64_t requests, int device) {
  if (cu_seqlens_q.empty()) return;
  cu_seqlens_q.require_rank(1);
  cu_seqlens_q.require_integers();
  cu_seqlens_q.require_device(device, "the lengths");
  cu_seqlens_q.require_size(0, requests + 1, "one more than the batch size");
}

void check_lengths(const Tensor& lengths) {
  lengths.require_rank(1);
  lengths.require_integers();
}

PlanKey key_of_metadata(std::int64_t max_seqlen_q, std::int64_t num_heads, std::int64_t num_heads_k,
                        std::int64_t headdim, std::int64_t headdim_v, const std::string& qkv_dtype,
                        std::int64_t page_size, bool causal, std::int64_t window_left,
                        std::int64_t window_right, std::int64_t attention_chunk,
                        std::int64_t num_splits, int device) {
  PlanKey key;
  key.device = device;
  key.num_heads = int32_of(num_heads, "num_heads");
  key.num_kv_heads = int32_of(num_heads_k, "num_heads_k");
  key.head_dim = int32_of(headdim, "headdim");
  key.head_dim_v = int32_of(headdim_v, "headdim_v");
  key.page_tokens = int32_of(page_size, "page_size");
  key.kv_type = kv_type_of(qkv_dtype, "qkv_dtype");
  put_masks(max_seqlen_q, causal, window_left, window_right, attention_chunk, num_splits, key);
  return key;
}

/// Words of int32 that metadata of B requests has.
std::int64_t metadata_size(std::int64_t batch_size, std::int64_t headdim,
                           const std::string& qkv_dtype, nb::handle device) {
  AttentionGeometry geometry{
      .num_heads = 1, .num_kv_heads = 1, .head_dim = int32_of(headdim, "headdim")};
  geometry.head_dim_v = geometry.head_dim;
  geometry.kv_type = kv_type_of(qkv_dtype, "qkv_dtype");
  const CudaAttentionTuning tuning =
      tuning_of(geometry.head_dim, geometry.kv_type, device_number(device));
  geometry.tile_tokens = tuning.tile_tokens;
  geometry.workers = tuning.workers;
  const Planner planner = value_or_raise(Planner::create(
      geometry, tuning.cost,
      {.max_requests = int32_of(batch_size, "batch_size"), .max_context_tokens = 1}));
  return static_cast<std::int64_t>((planner.plan_bytes() + 3) / 4);
}

void check_metadata(const Tensor& metadata, std::size_t plan_bytes, std::int64_t requests) {
  metadata.require_rank(1);
  metadata.require_element(Element::kI32);
  metadata.require_contiguous();
  const auto words = static_cast<std::int64_t>((plan_bytes + 3) / 4);
  if (metadata.size(0) != words) {
    raise_error("PlanMismatchError", fmt::format("scheduler_metadata has {} numbers; for {} "
                                                 "requests of this geometry it must have {}: size "
                                                 "buffers by onebeat.scheduler_metadata_size()",
                                                 metadata.size(0), requests, words));
  }
  if (metadata.device() != kHost &&
      reinterpret_cast<std::uintptr_t>(metadata.data<const void>()) % 16 != 0) {
    raise_error("InvalidArgumentError",
                "scheduler_metadata is not aligned to 16 bytes; it must be");
  }
}

void get_metadata(nb::handle seqused_k, nb::handle cu_seqlens_q, nb::handle out,
                  std::int64_t max_seqlen_q, std::int64_t max_seqlen_k, std::int64_t num_heads,
                  std::int64_t num_heads_k, std::int64_t headdim, std::int64_t headdim_v,
                  const std::string& qkv_dtype, std::int64_t page_size, bool causal,
                  std::int64_t window_left, std::int64_t window_right, std::int64_t attention_chunk,
                  std::int64_t num_splits, nb::handle stream) {
  const Tensor lengths(seqused_k, "seqused_k"), queries(cu_seqlens_q, "cu_seqlens_q"),
      metadata(out, "out", true);
  check_lengths(lengths);
  check_cu_seqlens_q(queries, lengths.size(0), lengths.device());
  PlanClass& of_class = class_of(key_of_metadata(
      max_seqlen_q, num_heads, num_heads_k, headdim, headdim_v, qkv_dtype, page_size, causal,
      window_left, window_right, attention_chunk, num_splits, lengths.device()));
  const std::int32_t requests = int32_of(lengths.size(0), "batch_size");
  check_metadata(metadata, of_class.plan_bytes(requests), requests);
  metadata.require_device(lengths.device(), "seqused_k");
  make_plan(of_class, lengths, queries, -1, std::max<std::int64_t>(max_seqlen_k, 1),
            metadata.data<std::byte>(), stream_of(stream, lengths));
}

/// Metadata's bytes on the host, aligned.
struct AlignedBytes {
  explicit AlignedBytes(std::span<const std::byte> bytes) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 16 == 0) {
      span = bytes;
      return;
    }
    copy.resize((bytes.size() + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    span = std::as_bytes(std::span(copy)).first(bytes.size());
  }
  std::vector<std::max_align_t> copy;
  std::span<const std::byte> span;
};

/// Metadata of other lengths than the call's would be executed for its own: on the host that can be
/// seen.
void check_same_lengths(const PlanView& plan, const Tensor& cache_seqlens) {
  for (std::int64_t b = 0; b < cache_seqlens.size(0); ++b) {
    const std::int64_t at = b * cache_seqlens.stride(0);
    const std::int64_t len = cache_seqlens.element() == Element::kI64
                                 ? cache_seqlens.data<const std::int64_t>()[at]
                                 : cache_seqlens.data<const std::int32_t>()[at];
    const std::uint32_t planned = plan.requests()[static_cast<std::size_t>(b)].len;
    if (len == std::int64_t{planned}) continue;
    raise_error(
        "PlanMismatchError",
        fmt::format("cache_seqlens[{}] is {}, but scheduler_metadata was made for {}: make it "
                    "anew when lengths change",
                    b, len, planned));
  }
}

std::int64_t longest_of(const PlanView& plan) {
  std::int64_t longest = 1;
  for (const RequestRecord& request : plan.requests())
    longest = std::max<std::int64_t>(longest, request.len);
  return longest;
}

struct FlashCall {
  AttentionTensors tensors;
  Tensor cache_seqlens, cu_seqlens_q;
  std::int32_t requests = 0;
  ScoreOptions score;
};

void check_metadata_plan(const DecodePlan& plan, const PlanClass& of_class, std::int32_t requests) {
  const AttentionGeometry& made = plan.planner().geometry();
  if (made != of_class.geometry.fields || plan.device() != of_class.key.device ||
      plan.num_requests != requests) {
    raise_error("PlanMismatchError",
                fmt::format("scheduler_metadata is a plan of {} requests, {}/{} heads of {}, pages "
                            "of {}, window {}, on {}; "
                            "the call has {} requests, {}/{} heads of {}, pages of {}, window {}, "
                            "on {}, or they differ in "
                            "tiles or workers",
                            plan.num_requests, made.num_heads, made.num_kv_heads, made.head_dim,
                            made.page_tokens, made.window_left, device_text(plan.device()),
                            requests, of_class.key.num_heads, of_class.key.num_kv_heads,
                            of_class.key.head_dim, of_class.key.page_tokens,
                            of_class.key.window_left, device_text(of_class.key.device)));
  }
}

void run_on_host(PlanClass& of_class, const FlashCall& call, nb::handle metadata) {
  const AttentionGeometry& geometry = of_class.geometry.fields;
  const auto run = [&](const PlanView& plan) {
    check_same_lengths(plan, call.cache_seqlens);
    decode_on_host(plan, of_class.scratch_for(call.requests, longest_of(plan)), call.tensors,
                   call.score);
  };
  if (nb::isinstance<DecodePlan>(metadata)) {
    const auto& plan = nb::cast<const DecodePlan&>(metadata);
    check_metadata_plan(plan, of_class, call.requests);
    run(HostPlan(plan).view());
    return;
  }
  const std::size_t bytes = of_class.plan_bytes(call.requests);
  if (!metadata.is_none()) {
    const Tensor given(metadata, "scheduler_metadata");
    check_metadata(given, bytes, call.requests);
    given.require_device(kHost, "q");
    const AlignedBytes aligned({given.data<const std::byte>(), bytes});
    const PlanView plan = value_or_raise(PlanView::open(aligned.span, geometry));
    if (plan.header().num_active != static_cast<std::uint32_t>(call.requests)) {
      raise_error("PlanMismatchError",
                  fmt::format("scheduler_metadata is for {} requests; the call has {}",
                              plan.header().num_active, call.requests));
    }
    run(plan);
    return;
  }
  const PlanMemory plan(bytes, kHost);
  make_plan(of_class, call.cache_seqlens, call.cu_seqlens_q, call.tensors.q.size(0),
            call.tensors.page_table.size(1) * geometry.page_tokens, plan.bytes().data(), nullptr);
  run(value_or_raise(PlanView::open(plan.bytes(), geometry)));
}

#ifdef ONEBEAT_WITH_CUDA
void run_on_cuda(PlanClass& of_class, const FlashCall& call, nb::handle metadata, void* stream) {
  const AttentionGeometry& geometry = of_class.geometry.fields;
  const int device = of_class.key.device;
  const CudaDecodeAttention& kernel = kernel_of(geometry, device);
  if (nb::isinstance<DecodePlan>(metadata)) {
    const auto& plan = nb::cast<const DecodePlan&>(metadata);
    check_metadata_plan(plan, of_class, call.requests);
    decode_on_cuda(plan, call.tensors, call.score, stream);
    return;
  }
  CudaPlan plan{.data = nullptr,
                .stamp = plan_stamp(geometry),
                .workers = geometry.workers,
                .capacity = call.requests};
  const std::size_t bytes = of_class.plan_bytes(call.requests);
  if (!metadata.is_none()) {
    const Tensor given(metadata, "scheduler_metadata");
    check_metadata(given, bytes, call.requests);
    given.require_device(device, "q");
    plan.data = given.data<const std::byte>();
  } else {
    std::byte* const memory = Workspace::of(device, stream).plan(bytes);
    make_plan(of_class, call.cache_seqlens, call.cu_seqlens_q, -1,
              call.tensors.page_table.size(1) * geometry.page_tokens, memory, stream);
    plan.data = memory;
  }
  const ScratchSize scratch =
      of_class.scratch_for(call.requests, call.tensors.page_table.size(1) * geometry.page_tokens);
  decode_on_cuda(kernel, plan, scratch, call.tensors, call.score, stream);
}
#endif

void flash_decode(nb::handle q, nb::handle k_cache, nb::handle v_cache, nb::handle page_table,
                  nb::handle cache_seqlens, nb::handle cu_seqlens_q, std::int64_t max_seqlen_q,
                  nb::handle metadata, nb::handle out, nb::handle lse, std::optional<float> scale,
                  bool causal, std::int64_t window_left, std::int64_t window_right,
                  std::int64_t attention_chunk, float softcap, nb::handle sinks,
                  std::int64_t num_splits, nb::handle stream) {
  FlashCall call;
  call.tensors.q = Tensor(q, "q");
  call.tensors.k_cache = Tensor(k_cache, "k_cache");
  call.tensors.v_cache = Tensor(v_cache, "v_cache");
  call.tensors.page_table = Tensor(page_table, "page_table");
  call.tensors.out = Tensor(out, "out", true);
  call.tensors.lse = Tensor(lse, "softmax_lse", true);
  call.tensors.sinks = Tensor(sinks, "sinks");
  call.cache_seqlens = Tensor(cache_seqlens, "cache_seqlens");
  call.cu_seqlens_q = Tensor(cu_seqlens_q, "cu_seqlens_q");
  const AttentionTensors& tensors = call.tensors;
  const Tensor& queries = tensors.q;
  check_lengths(call.cache_seqlens);
  call.requests = int32_of(call.cache_seqlens.size(0), "batch size");
  call.cache_seqlens.require_device(queries.device(), "q");
  tensors.k_cache.require_rank(4);
  tensors.v_cache.require_rank(4);
  tensors.page_table.require_rank(2);
  tensors.page_table.require_size(0, call.requests, "the batch size, as cache_seqlens has it");
  if (queries.rank() == 4) {
    queries.require_size(0, call.requests, "the batch size, as cache_seqlens has it");
    if (!call.cu_seqlens_q.empty()) {
      raise_error("InvalidArgumentError",
                  fmt::format("q has shape {} beside cu_seqlens_q; it must be [tokens, heads, dim] "
                              "then",
                              queries.shape_text()));
    }
    max_seqlen_q = queries.size(1);
  } else {
    queries.require_rank(3);
    if (call.cu_seqlens_q.empty()) {
      raise_error(
          "InvalidArgumentError",
          fmt::format("q has shape {} and cu_seqlens_q is None; q must be [requests, tokens "
                      "of each, heads, dim] then",
                      queries.shape_text()));
    }
    check_cu_seqlens_q(call.cu_seqlens_q, call.requests, queries.device());
    if (queries.device() != kHost && queries.size(0) != call.requests * max_seqlen_q) {
      raise_error(
          "UnsupportedError",
          fmt::format(
              "q has {} tokens for {} requests of max_seqlen_q {}; on a GPU all requests must have "
              "max_seqlen_q query tokens",
              queries.size(0), call.requests, max_seqlen_q));
    }
  }
  PlanKey key;
  key.device = queries.device();
  key.num_heads = int32_of(queries.size(-2), "heads of q");
  key.head_dim = int32_of(queries.size(-1), "head size of q");
  key.num_kv_heads = int32_of(tensors.k_cache.size(2), "heads of k_cache");
  key.head_dim_v = int32_of(tensors.v_cache.size(3), "head size of v_cache");
  key.page_tokens = int32_of(tensors.k_cache.size(1), "page size of k_cache");
  key.kv_type = kv_type_of(tensors.k_cache);
  put_masks(max_seqlen_q, causal, window_left, window_right, attention_chunk, num_splits, key);
  PlanClass& of_class = class_of(key);
  call.score.scale = scale.value_or(1.0f / std::sqrt(static_cast<float>(key.head_dim)));
  call.score.soft_cap = softcap;
  if (key.device == kHost) {
    run_on_host(of_class, call, metadata);
    return;
  }
#ifdef ONEBEAT_WITH_CUDA
  run_on_cuda(of_class, call, metadata, stream_of(stream, queries));
#else
  static_cast<void>(stream);
  raise_error("UnavailableError",
              "q is on a CUDA device, but this build of onebeat has no CUDA code");
#endif
}

#ifdef ONEBEAT_WITH_CUDA
void reserve_workspace(const Geometry& geometry, std::int32_t max_requests, int device) {
  const CurrentDevice current(device);
  const Planner planner = value_or_raise(Planner::create(
      geometry.fields, geometry.cost, {.max_requests = max_requests, .max_context_tokens = 1}));
  Workspace::reserve(device, planner.scratch_size(), planner.plan_bytes());
}
#endif

}  // namespace

void bind_flash(nb::module_& module) {
  module.def("metadata_size", &metadata_size);
  module.def("get_metadata", &get_metadata, nb::arg("seqused_k"), nb::arg("cu_seqlens_q").none(),
             nb::arg("out"), nb::arg("max_seqlen_q"), nb::arg("max_seqlen_k"), nb::arg("num_heads"),
             nb::arg("num_heads_k"), nb::arg("headdim"), nb::arg("headdim_v"), nb::arg("qkv_dtype"),
             nb::arg("page_size"), nb::arg("causal"), nb::arg("window_left"),
             nb::arg("window_right"), nb::arg("attention_chunk"), nb::arg("num_splits"),
             nb::arg("stream").none());
  module.def("flash_decode", &flash_decode, nb::arg("q"), nb::arg("k_cache"), nb::arg("v_cache"),
             nb::arg("page_table"), nb::arg("cache_seqlens"), nb::arg("cu_seqlens_q").none(),
             nb::arg("max_seqlen_q"), nb::arg("metadata").none(), nb::arg("out"),
             nb::arg("lse").none(), nb::arg("scale").none(), nb::arg("causal"),
             nb::arg("window_left"), nb::arg("window_right"), nb::arg("attention_chunk"),
             nb::arg("softcap"), nb::arg("sinks").none(), nb::arg("num_splits"),
             nb::arg("stream").none());
#ifdef ONEBEAT_WITH_CUDA
  module.def("reserve_workspace",
             [](const Geometry& geometry, std::int32_t max_requests, nb::handle device) {
               reserve_workspace(geometry, max_requests, device_number(device));
             });
  module.def("raise_faults",
             [](nb::handle device) { Workspace::raise_faults(device_number(device)); });
#endif
}

}  // namespace onebeat::python
