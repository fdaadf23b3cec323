// SPDX-License-Identifier: Apache-2.0
#include "attention/cpu/query_tile.h"

#include <algorithm>
#include <limits>

#include "attention/cpu/kernels_amx.h"
#include "attention/visible_range.h"

namespace onebeat::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr double kLog2E = 1.4426950408889634;

std::int32_t widest(const AttentionGeometry& geometry) {
  return padded(std::max(geometry.head_dim, geometry.head_dim_v));
}

}  // namespace

std::int64_t step_end(const AttentionGeometry& geometry, std::int64_t token, std::int64_t end) {
  std::int64_t stop = (token / kStepTokens + 1) * kStepTokens;
  if (geometry.invariant_chunk_tokens > 0) {
    stop = std::min(
        stop, (token / geometry.invariant_chunk_tokens + 1) * geometry.invariant_chunk_tokens);
  }
  return std::min(stop, end);
}

ChunkRange chunks_of(const AttentionGeometry& geometry, std::int64_t begin, std::int64_t end) {
  const std::int64_t chunk = geometry.invariant_chunk_tokens;
  if (chunk == 0 || begin >= end) return {};
  return {static_cast<std::uint32_t>(begin / chunk),
          static_cast<std::uint32_t>((end + chunk - 1) / chunk)};
}

std::int32_t QueryTile::nodes_needed(const AttentionGeometry& geometry, std::int64_t longest) {
  if (geometry.invariant_chunk_tokens == 0) return 1;
  const ChunkRange chunks = chunks_of(geometry, 0, longest);
  return std::min(2 * tree_nodes_per_slot(chunks.end) + 2, kMaxNodes);
}

std::size_t QueryTile::workspace_bytes(const AttentionGeometry& geometry, std::int32_t nodes) {
  const auto rows = static_cast<std::size_t>(kQueryTileRows);
  const auto dim = static_cast<std::size_t>(padded(geometry.head_dim));
  const auto dim_v = static_cast<std::size_t>(padded(geometry.head_dim_v));
  const std::size_t floats = rows * dim + rows * kStepTokens +
                             kStepTokens * static_cast<std::size_t>(widest(geometry)) + rows * dim +
                             kStepTokens * (dim + dim_v) +
                             static_cast<std::size_t>(nodes) * rows * (2 + dim_v);
  return floats * sizeof(float);
}

QueryTile::QueryTile(const TileContext& context, std::span<std::byte> workspace, std::int32_t nodes)
    : context_(context),
      invariant_(context.geometry->invariant_chunk_tokens > 0),
      heads_(heads_per_kv_head(*context.geometry)),
      max_nodes_(nodes) {
  const AttentionGeometry& geometry = *context.geometry;
  const std::int64_t rows = kQueryTileRows;
  auto* next = reinterpret_cast<float*>(workspace.data());
  const auto take = [&next](std::int64_t floats) {
    float* taken = next;
    next += floats;
    return taken;
  };
  q_ = take(rows * padded(geometry.head_dim));
  scores_ = take(rows * kStepTokens);
  converted_ = take(static_cast<std::int64_t>(kStepTokens) * widest(geometry));
  tiles_.queries = take(rows * padded(geometry.head_dim));
  tiles_.keys = take(static_cast<std::int64_t>(kStepTokens) * padded(geometry.head_dim));
  tiles_.values = take(static_cast<std::int64_t>(kStepTokens) * padded(geometry.head_dim_v));
  maxima_ = take(rows * nodes);
  sums_ = take(rows * nodes);
  outputs_ = take(rows * nodes * padded(geometry.head_dim_v));
}

RowPartials QueryTile::node(std::int32_t node) const {
  const std::int64_t rows = kQueryTileRows;
  const std::int64_t stride = padded(context_.geometry->head_dim_v);
  return {maxima_ + node * rows, sums_ + node * rows, outputs_ + node * rows * stride, stride};
}

void QueryTile::reset(const RowPartials& partials) const {
  std::fill_n(partials.maxima, rows_.rows, kMinusInfinity);
  std::fill_n(partials.sums, rows_.rows, 0.0f);
  std::fill_n(partials.outputs, rows_.rows * partials.output_stride, 0.0f);
}

void QueryTile::begin(const TileRows& rows, ChunkRange request_chunks, std::uint32_t run_begin) {
  rows_ = rows;
  request_chunks_ = request_chunks;
  run_begin_ = run_begin;
  depth_ = 0;
  load_queries();
  const AttentionGeometry& geometry = *context_.geometry;
  if (context_.kernels->arrange_queries != nullptr && !invariant_ &&
      amx_takes(rows_.rows, geometry.head_dim, geometry.head_dim_v)) {
    context_.kernels->arrange_queries(q_, rows_.rows, geometry.head_dim, tiles_.queries);
  }
  reset(node(0));
}

void QueryTile::load_queries() {
  const HeadRows<const float>& q = context_.launch->q;
  const ScoreOptions& score = context_.launch->score;
  // With a soft cap the kernel needs tanh's argument, without it the score in units of log 2.
  const double key_scale = scale_of(context_.launch->kv.k_scales, rows_.kv_head);
  const auto scale =
      static_cast<float>(score.soft_cap > 0.0f ? score.scale * key_scale / score.soft_cap
                                               : score.scale * key_scale * kLog2E);
  const std::int32_t dim = context_.geometry->head_dim;
  const std::int32_t stride = padded(dim);
  for (std::int32_t i = 0; i < rows_.rows; ++i) {
    const std::int64_t row = rows_.first_row + i;
    const std::int64_t head = static_cast<std::int64_t>(rows_.kv_head) * heads_ + row % heads_;
    const float* from =
        q.data + (rows_.first_token + token_of(row)) * q.token_stride + head * q.head_stride;
    float* to = q_ + static_cast<std::int64_t>(i) * stride;
    for (std::int32_t d = 0; d < dim; ++d) to[d] = from[d] * scale;
    std::fill(to + dim, to + stride, 0.0f);
  }
}

void QueryTile::attend(const Step& step, const Step* next) {
  const AttentionGeometry& geometry = *context_.geometry;
  std::int32_t visible_begin[kQueryTileRows];
  std::int32_t visible_end[kQueryTileRows];
  for (std::int32_t i = 0; i < rows_.rows; ++i) {
    const std::int64_t position = rows_.len - rows_.query_tokens + token_of(rows_.first_row + i);
    const VisibleRange range = visible_range(geometry, position, rows_.len);
    visible_begin[i] = static_cast<std::int32_t>(
        std::clamp<std::int64_t>(range.begin - step.begin, 0, kStepTokens));
    visible_end[i] =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(range.end - step.begin, 0, kStepTokens));
  }
  StepInput in;
  in.rows = rows_.rows;
  in.dim = geometry.head_dim;
  in.dim_v = geometry.head_dim_v;
  in.tokens = step.tokens;
  in.q = q_;
  in.cap = static_cast<float>(context_.launch->score.soft_cap * kLog2E);
  in.k = context_.launch->kv.k;
  in.v = context_.launch->kv.v;
  in.k_offsets = step.k_offsets;
  in.v_offsets = step.v_offsets;
  in.visible_begin = visible_begin;
  in.visible_end = visible_end;
  if (next != nullptr) {
    in.next_tokens = next->tokens;
    in.next_k_offsets = next->k_offsets;
    in.next_v_offsets = next->v_offsets;
  }
  in.partials = node(depth_);
  in.scores = scores_;
  in.converted = converted_;
  in.tiles = tiles_;
  in.same_bits = invariant_;
  switch (geometry.kv_type) {
    case KvType::kF32:
      context_.kernels->attend_f32(in);
      break;
    case KvType::kF16:
      context_.kernels->attend_f16(in);
      break;
    case KvType::kBF16:
      context_.kernels->attend_bf16(in);
      break;
    case KvType::kF8E4M3:
      context_.kernels->attend_f8(in);
      break;
  }
}

bool QueryTile::close_chunk(std::uint32_t chunk) {
  node_begin_[depth_++] = chunk;
  while (depth_ >= 2 && tree_merges(node_begin_[depth_ - 2], node_begin_[depth_ - 1], chunk + 1,
                                    run_begin_, request_chunks_)) {
    context_.kernels->merge(node(depth_ - 2), node(depth_ - 1), rows_.rows,
                            context_.geometry->head_dim_v);
    --depth_;
  }
  if (depth_ == max_nodes_) {
    --depth_;
    return false;
  }
  reset(node(depth_));
  return true;
}

void QueryTile::write(const RowPartials& result) const {
  const HeadRows<float>& out = context_.launch->out;
  const LseRows& lse = context_.launch->lse;
  const float* sinks = context_.launch->score.sinks;
  for (std::int32_t i = 0; i < rows_.rows; ++i) {
    const std::int64_t row = rows_.first_row + i;
    const std::int64_t token = token_of(row);
    const std::int64_t head = static_cast<std::int64_t>(rows_.kv_head) * heads_ + row % heads_;
    FinishInput in;
    in.maximum = result.maxima[i];
    in.sum = result.sums[i];
    in.accumulators = result.outputs + i * result.output_stride;
    in.dim_v = context_.geometry->head_dim_v;
    in.sink = sinks != nullptr ? sinks + head : nullptr;
    in.value_scale = scale_of(context_.launch->kv.v_scales, rows_.kv_head);
    in.out = out.data + (rows_.first_token + token) * out.token_stride + head * out.head_stride;
    if (lse.data != nullptr) {
      const std::int64_t at = lse.request_stride != 0
                                  ? rows_.request * lse.request_stride + token * lse.token_stride
                                  : (rows_.first_token + token) * lse.token_stride;
      in.lse = lse.data + at + head * lse.head_stride;
    }
    context_.kernels->finish(in);
  }
}

}  // namespace onebeat::cpu
