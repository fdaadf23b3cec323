// SPDX-License-Identifier: Apache-2.0
// The inner loops of attention on a CPU, compiled once for each instruction set. A table of
// functions is a variant.
//
// All know rows only: vectors of one query row, its running maximum, sum and output. Each row is
// computed by the same operations in the same order whatever rows it is computed with, so a row's
// bits do not depend on its company; a variant that does many rows in another way than few keeps to
// one way where StepInput::same_bits asks for it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "onebeat/attention.h"

namespace onebeat::cpu {

/// Most KV tokens that one step of the online softmax takes.
inline constexpr std::int32_t kStepTokens = 64;

/// Rows of working memory are padded to a multiple of this many floats.
inline constexpr std::int32_t kRowPadding = 16;

constexpr std::int32_t padded(std::int32_t dim) {
  return (dim + kRowPadding - 1) / kRowPadding * kRowPadding;
}

/// Running softmax of some rows: out = accumulators / sum, lse = (maximum + log2(sum)) * ln 2.
/// Maxima are of scores times log2(e). A row that has seen nothing has (-inf, 0, 0...).
struct RowPartials {
  float* maxima = nullptr;
  float* sums = nullptr;
  float* outputs = nullptr;  ///< Row r at outputs + r * output_stride, dim_v floats.
  std::int64_t output_stride = 0;
};

/// Working memory of variants that multiply tiles (KernelTable::arrange_queries): the query rows
/// and a step's K and V as these need them.
struct TileSpace {
  void* queries = nullptr;  ///< kQueryTileRows * dim numbers of 4 bytes.
  void* keys = nullptr;     ///< kStepTokens * dim numbers of 4 bytes.
  void* values = nullptr;   ///< kStepTokens * dim_v numbers of 4 bytes.
};

/// One step of the online softmax: some KV tokens of one head for some query rows.
struct StepInput {
  std::int32_t rows = 0;
  std::int32_t dim = 0;
  std::int32_t dim_v = 0;
  std::int32_t tokens = 0;  ///< 1 to kStepTokens.
  const float* q =
      nullptr;  ///< Row r at q + r * padded(dim), zero beyond dim; carries the scale (see cap).
  float cap = 0.0f;  ///< 0: q.k is the score times log2(e). Else the score is cap * tanh(q.k), in
                     ///< log2 units.
  const void* k = nullptr;  ///< Token t at element k_offsets[t].
  const void* v = nullptr;
  const std::int64_t* k_offsets = nullptr;
  const std::int64_t* v_offsets = nullptr;
  /// Row r sees tokens [visible_begin[r], visible_end[r]) of this step; empty ranges may have begin
  /// > end.
  const std::int32_t* visible_begin = nullptr;
  const std::int32_t* visible_end = nullptr;
  /// The step that comes next, to be fetched meanwhile; none: 0 tokens.
  std::int32_t next_tokens = 0;
  const std::int64_t* next_k_offsets = nullptr;
  const std::int64_t* next_v_offsets = nullptr;
  RowPartials partials;        ///< outputs rows padded to padded(dim_v).
  float* scores = nullptr;     ///< rows * kStepTokens floats of working memory.
  TileSpace tiles;             ///< Set if the variant has arrange_queries.
  bool same_bits = false;      ///< Bits of a row must not depend on the number of rows.
  float* converted = nullptr;  ///< kStepTokens * padded(max(dim, dim_v)) floats of working memory.
};

/// How a finished row leaves: output, log-sum-exp.
struct FinishInput {
  float maximum = 0.0f;
  float sum = 0.0f;
  const float* accumulators = nullptr;
  std::int32_t dim_v = 0;
  const float* sink = nullptr;  ///< A logit in natural units, or null.
  float value_scale = 1.0f;     ///< Of the values behind the accumulators.
  float* out = nullptr;
  float* lse = nullptr;  ///< Or null.
};

struct KernelTable {
  std::string_view name;
  std::int64_t target = 0;  ///< Highway's bit of the instruction set.
  /// Null, or to be called with new query rows before any step of them.
  void (*arrange_queries)(const float* q, std::int32_t rows, std::int32_t dim, void* to) = nullptr;
  void (*attend_f32)(const StepInput&) = nullptr;
  void (*attend_f16)(const StepInput&) = nullptr;
  void (*attend_bf16)(const StepInput&) = nullptr;
  void (*attend_f8)(const StepInput&) = nullptr;
  /// Adds `rows` rows of `from` to `into`; a row that has seen nothing changes no bit of the other
  /// side.
  void (*merge)(const RowPartials& into, const RowPartials& from, std::int32_t rows,
                std::int32_t dim_v) = nullptr;
  void (*finish)(const FinishInput&) = nullptr;
  void (*store_f16)(const float* from, std::uint16_t* to, std::int32_t dim) = nullptr;
  void (*store_bf16)(const float* from, std::uint16_t* to, std::int32_t dim) = nullptr;
  /// Codes of from / scale.
  void (*store_f8)(const float* from, std::uint8_t* to, std::int32_t dim, float scale) = nullptr;
};

/// Scale of a KV head (KvPool::k_scales).
constexpr float scale_of(const float* scales, std::int64_t kv_head) {
  return scales != nullptr ? scales[kv_head] : 1.0f;
}

/// Tables of this build, best first; also of instruction sets that this processor lacks.
[[nodiscard]] std::span<const KernelTable> kernel_tables();

/// The table of this name, or the best that the processor runs if it is empty.
/// Errors: kUnsupported naming what there is.
[[nodiscard]] Result<const KernelTable*> choose_kernels(std::string_view name);

}  // namespace onebeat::cpu
