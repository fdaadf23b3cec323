// SPDX-License-Identifier: Apache-2.0
// Paged attention: decode that executes a plan, prefill, the merge of results over parts of the
// tokens, and the append that fills the cache. CPU twins; the structures are those of the device
// twins too, which take device pointers in them.
//
// Shapes use the letters of docs/glossary.md: B requests, T query tokens of a request, H query
// heads, G KV heads, R = H / G, D and Dv head sizes, P tokens in a page. Query tokens of a step are
// consecutive rows: request b has rows [query_begin[b], query_begin[b + 1]).
//
// Bounds. Lengths come from the plan (decode) or from checked arguments (prefill); rows, columns
// and ids of pages are clamped to what exists, a clamp is reported, and nothing is read or written
// outside the views, whatever they hold.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/geometry.h"
#include "onebeat/plan.h"
#include "onebeat/status.h"

namespace onebeat {

class ThreadPool;

/// One layer's pages of K and V. Borrowed. Element (page, offset, kv_head, d) of K is at
/// page * k_page_stride + offset * k_token_stride + kv_head * k_head_stride + d; V likewise.
/// Strides count elements. A head's D elements are contiguous; everything else may be strided (K
/// and V may be interleaved in one array).
struct KvPool {
  void* k = nullptr;
  void* v = nullptr;
  KvType type = KvType::kBF16;
  std::int64_t num_pages = 0;
  std::int32_t page_tokens = 0;   ///< P
  std::int32_t num_kv_heads = 0;  ///< G
  std::int32_t head_dim = 0;      ///< D
  std::int32_t head_dim_v = 0;    ///< Dv
  std::int64_t k_page_stride = 0;
  std::int64_t k_token_stride = 0;
  std::int64_t k_head_stride = 0;
  std::int64_t v_page_stride = 0;
  std::int64_t v_token_stride = 0;
  std::int64_t v_head_stride = 0;
  /// Of fp8 e4m3 pools only, G floats each, or null: all 1. An element of KV head g means its code
  /// times scales[g]; stored is the code nearest to value / scales[g], ties to even, at most 448 in
  /// magnitude (infinities too); a NaN is stored as code 0x7f. Finite and above 0: a CPU refuses
  /// others; on a device, which reads them in every launch, they make results wrong and no more.
  const float* k_scales = nullptr;
  const float* v_scales = nullptr;
};

/// How a pool that we lay out ourselves orders a page.
enum class KvLayout : std::uint8_t {
  kRuns,  ///< [head][page][token][d]: pages given out in order make long runs. The engine's own.
  kNhd,   ///< [page][token][head][d]: what other engines keep.
};

/// The view of `num_pages` densely packed pages of this geometry at `k` and `v`.
/// Each needs num_pages * P * G * (D or Dv) elements of geometry.kv_type.
[[nodiscard]] KvPool make_kv_pool(const AttentionGeometry& geometry, KvLayout layout,
                                  std::int64_t num_pages, void* k, void* v);

/// Where the pages of each request are: page p of request b is pages[row * row_stride + p], where
/// row is row_of[b] (direct: the rows of the pool's page map) or b (row_of null: a table [B, pages]
/// made for the step). Only the entries that a request's tokens need are read. Borrowed.
struct PageMap {
  const std::int32_t* pages = nullptr;
  std::int64_t row_stride = 0;
  std::int32_t num_rows = 0;
  std::int32_t num_columns = 0;
  const std::int32_t* row_of = nullptr;  ///< One number for each request of the step, or null.
};

/// Rows of vectors, one for each (query token, head): element (token, head, d) is at
/// token * token_stride + head * head_stride + d. The d are contiguous. Borrowed.
template <typename T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t num_tokens = 0;
  std::int32_t num_heads = 0;
  std::int32_t dim = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// Densely packed [tokens, heads, dim].
template <typename T>
[[nodiscard]] constexpr HeadRows<T> dense_head_rows(T* data, std::int64_t num_tokens,
                                                    std::int32_t num_heads, std::int32_t dim) {
  return {data, num_tokens, num_heads, dim, static_cast<std::int64_t>(num_heads) * dim, dim};
}

/// Log-sum-exp of the scores of each (query token, head): natural logarithm, without the sink, -inf
/// for a row that sees nothing. Null data: not wanted. The number of query token t of request b and
/// head h is at
///   b * request_stride + t * token_stride + h * head_stride      if request_stride is not 0
///   (query_begin[b] + t) * token_stride + h * head_stride        otherwise.
/// So {H*T, 1, T} is [B, H, T], {0, 1, tokens} is [H, tokens], {0, H, 1} is [tokens, H].
struct LseRows {
  float* data = nullptr;
  std::int64_t size = 0;  ///< Floats behind data.
  std::int64_t request_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// How scores become weights. Launch fields: they may differ from layer to layer under one plan.
struct ScoreOptions {
  float scale = 0.0f;     ///< Scores are scale * (q . k); usually 1 / sqrt(D). Finite, above 0.
  float soft_cap = 0.0f;  ///< If above 0, scores become soft_cap * tanh(score / soft_cap).
  const float* sinks =
      nullptr;  ///< H logits (not scaled) that take weight and give no value, or null.
};

/// Bits of a fault word: what a launch had to clamp or skip. Results are then wrong, but nothing
/// was out of bounds.
enum AttentionFault : std::uint32_t {
  kFaultPageId = 1u << 0,  ///< A page id that a request's tokens need is outside the pool; clamped.
  kFaultPageRow =
      1u
      << 1,  ///< A row of the page map, or a column that a length needs, does not exist; clamped.
  kFaultSlot =
      1u << 2,  ///< A slot of a token to append is outside the pool; the token was not stored.
  kFaultPlan = 1u << 3,  ///< A worker's record carries another stamp; its work was not done.
};

/// Which code runs: variants are compiled for several instruction sets and chosen at run time. All
/// give the same results up to rounding; for bits that repeat, pin one.
struct CpuVariant {
  std::string_view name;   ///< "portable", "avx2", "avx512", ...
  bool supported = false;  ///< This processor can run it.
};

/// All variants of this build, best first. Static storage.
[[nodiscard]] std::span<const CpuVariant> cpu_attention_variants();

/// What a launch did; filled if asked for.
struct AttentionReport {
  std::string_view variant;  ///< Name of the variant that ran.
  std::uint32_t faults = 0;  ///< AttentionFault bits.
};

/// What both kinds of launch need.
struct AttentionLaunch {
  HeadRows<const float> q;  ///< [tokens, H, D]
  HeadRows<float> out;      ///< [tokens, H, Dv]; must not overlap an input.
  LseRows lse;
  ScoreOptions score;
  KvPool kv;
  PageMap pages;
  std::string_view variant;  ///< Force a variant by name; empty: the best that this processor runs.
  AttentionReport* report =
      nullptr;  ///< If not null, filled before the call returns, also with a failure.
};

/// Memory that decode_attention() uses for the parts of split units: Planner::scratch_size() gives
/// the numbers. One set for each step in flight; layers use it one after the other. Uninitialised,
/// but for the counters, which must be zero before a plan's first launch; each launch leaves them
/// zero.
struct AttentionScratch {
  std::span<float> outputs;           ///< ScratchSize::output_floats, 16-byte aligned.
  std::span<float> stats;             ///< ScratchSize::stats_floats, 16-byte aligned.
  std::span<std::uint32_t> counters;  ///< ScratchSize::counters.
};

/// Attention of a decode step for one layer, as the plan divides it. Rows of requests from
/// num_active on are not touched; a request of length 0 gets output 0. Runs on any number of
/// threads whatever the plan's W; the result does not depend on the number of threads. In
/// batch-invariant mode the bits of a request do not depend on the plan either. Errors:
/// kPlanMismatch (a plan of another geometry than the tensors), kInvalidArgument (shapes, strides,
/// scratch or score options), kUnsupported (KV type, unknown or unsupported variant); nothing was
/// written then. kOutOfRange: the launch ran and clamped something; the report says what.
[[nodiscard]] Status decode_attention(const PlanView& plan, const AttentionLaunch& launch,
                                      const AttentionScratch& scratch, ThreadPool& pool);

/// What a prefill computes: request b has query tokens [query_begin[b], query_begin[b + 1]), which
/// are the last of its lens[b] KV tokens. All of them are in the cache already. Borrowed.
struct PrefillBatch {
  std::span<const std::int32_t>
      query_begin;  ///< B + 1 numbers, rising from 0; the last is at most the rows of q.
  std::span<const std::int32_t>
      lens;  ///< B numbers, each 0 or at least the request's query tokens.
};

/// Attention of prompts or parts of prompts, whatever came before them in the cache. Of the
/// geometry, tile_tokens and the batch-invariant chunk decide the order of summation: with the
/// latter a token's bits equal those that decode_attention() gives for it. workers and
/// max_query_tokens do not matter. Errors: as decode_attention(); kOutOfRange also for lengths that
/// do not fit together.
[[nodiscard]] Status prefill_attention(const AttentionGeometry& geometry, const PrefillBatch& batch,
                                       const AttentionLaunch& launch, ThreadPool& pool);

/// New K and V of a step to be stored in the cache.
struct AppendLaunch {
  HeadRows<const float> k;  ///< [tokens, G, D]
  HeadRows<const float> v;  ///< [tokens, G, Dv]
  std::span<const std::int32_t>
      slots;  ///< One for each token: page * P + offset, or -1: do not store this token.
  KvPool kv;
  std::string_view variant;
  AttentionReport* report = nullptr;
};

/// Stores K and V of slots.size() tokens, rounded to nearest even in the pool's type (the same bits
/// in every variant, and as on a device), fp8 as KvPool::k_scales says. No two tokens may have one
/// slot. Errors: kInvalidArgument, kUnsupported; kOutOfRange if slots outside the pool were
/// skipped.
[[nodiscard]] Status append_kv(const AppendLaunch& launch, ThreadPool& pool);

/// Element type of rows that are merged.
enum class RowType : std::uint8_t { kF32, kF16, kBF16 };

/// Bytes of one element.
[[nodiscard]] constexpr int size_of(RowType type) {
  return type == RowType::kF32 ? 4 : 2;
}

/// Attention over a part of the tokens: for each (query token, head) a row of output and the
/// log-sum-exp of its scores, natural logarithm. Element (token, head, d) is at
/// token * token_stride + head * head_stride + d, the log-sum-exp at
/// token * lse_token_stride + head * lse_head_stride. Borrowed.
struct AttentionState {
  void* rows = nullptr;
  float* lse = nullptr;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t lse_token_stride = 0;
  std::int64_t lse_head_stride = 0;
  friend bool operator==(const AttentionState&, const AttentionState&) = default;
};

/// State `index` of densely packed rows [n, tokens, heads, dim] and lse [n, tokens, heads].
[[nodiscard]] constexpr AttentionState dense_attention_state(RowType type, void* rows, float* lse,
                                                             std::int64_t index,
                                                             std::int64_t num_tokens,
                                                             std::int32_t num_heads,
                                                             std::int32_t dim) {
  const std::int64_t row = index * num_tokens * num_heads;
  return {static_cast<char*>(rows) + row * dim * size_of(type),
          lse + row,
          static_cast<std::int64_t>(num_heads) * dim,
          dim,
          num_heads,
          1};
}

/// Most states of one merge; merge into a state of the next merge if there are more.
inline constexpr std::size_t kMostMergedStates = 32;

/// Results over parts of the tokens that become the result over all of them.
struct MergeStates {
  RowType type = RowType::kF32;  ///< Of all states and of the result.
  std::int64_t num_tokens = 0;
  std::int32_t num_heads = 0;
  std::int32_t dim = 0;
  std::span<const AttentionState> states;  ///< 1 to kMostMergedStates; 2: elsewhere "merge_state".
  /// The result; its lse may be null. May be one of the states, in place; overlaps none otherwise.
  AttentionState result;
  /// Logits, one for each head, that take weight and give no value, or null. Attention that made
  /// the states must not have counted them.
  const float* sinks = nullptr;
};

/// result.rows = sum of exp(lse_i - lse) * rows_i, result.lse = lse = log(sum of exp(lse_i)), in
/// fp32 in the order of the states, rounded to nearest even. A part with log-sum-exp -inf is empty:
/// its row is not taken into account, whatever it holds. If all are empty the row becomes 0 and its
/// lse -inf. With a sink the row is multiplied by exp(lse) / (exp(lse) + exp(sink)), and lse stays.
/// The result does not depend on the number of threads. Errors: kInvalidArgument; nothing was
/// written then.
[[nodiscard]] Status merge_states(const MergeStates& merge, ThreadPool& pool);

}  // namespace onebeat
