// SPDX-License-Identifier: Apache-2.0
#include "model/cpu_layer_ops.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "base/check.h"
#include "base/error.h"
#include "ops/activation.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace onebeat {
namespace {

constexpr std::size_t kMostProducts = 4;

std::size_t index_of(Buffer buffer) {
  return static_cast<std::size_t>(buffer);
}

LinearPart part_of(const LinearWeight& weight, Matrix out, bool add) {
  return {weight.matrix, weight.bias.empty() ? nullptr : weight.bias.data(), out, add};
}

/// Rows of heads that lie one after the other in a row of activations.
template <typename T>
HeadRows<T> heads_of(Matrix rows, std::int32_t heads, std::int32_t dim) {
  return dense_head_rows<T>(rows.data, rows.rows, heads, dim);
}

}  // namespace

Result<std::unique_ptr<CpuLayerOps>> CpuLayerOps::create(const ModelConfig& config,
                                                         CpuLayerOpsParts parts, ThreadPool& pool) {
  ONEBEAT_CHECK(static_cast<std::int32_t>(parts.kv.size()) == config.num_layers);
  ONEBEAT_CHECK(parts.geometries.size() == config.classes.size());
  ONEBEAT_CHECK(parts.scratch.size() == config.classes.size());
  std::unique_ptr<CpuLayerOps> ops(new CpuLayerOps(config, std::move(parts), pool));
  try {
    for (int i = 0; i < kNumBuffers; ++i) {
      const auto buffer = static_cast<Buffer>(i);
      const std::int64_t rows =
          buffer == Buffer::kLogits ? ops->parts_.max_output_rows : ops->parts_.max_rows;
      ops->buffers_[index_of(buffer)].resize(
          static_cast<std::size_t>(rows * buffer_columns(config, buffer)));
    }
    for (const AttentionClassConfig& attention_class : config.classes) {
      ops->angles_.emplace_back(
          static_cast<std::size_t>(ops->parts_.max_rows * attention_class.rope.rotary_dims));
    }
  } catch (const std::bad_alloc&) {
    return resource_exhausted(
        "no memory for the activations of {} tokens; a smaller prefill chunk needs less",
        ops->parts_.max_rows);
  }
  return ops;
}

void CpuLayerOps::begin(const ForwardRows& rows) {
  const auto count = static_cast<std::int64_t>(rows.tokens.size());
  ONEBEAT_CHECK(count <= parts_.max_rows);
  ONEBEAT_CHECK(rows.positions.size() == rows.tokens.size() &&
                rows.slots.size() == rows.tokens.size());
  ONEBEAT_CHECK(static_cast<std::int64_t>(rows.output_rows.size()) <= parts_.max_output_rows);
  ONEBEAT_CHECK(rows.decode_rows <= count);
  const auto add = [](std::int64_t sum, const RowRun& run) { return sum + run.count; };
  ONEBEAT_CHECK(std::accumulate(rows.runs.begin(), rows.runs.end(), std::int64_t{0}, add) == count);
  rows_ = rows;
  count_ = count;
  for (std::size_t c = 0; c < config_.classes.size(); ++c) {
    rope_angles(config_.classes[c].rope, rows.positions, angles(c));
  }
}

Matrix CpuLayerOps::angles(std::size_t class_index) {
  const std::int64_t dims = config_.classes[class_index].rope.rotary_dims;
  return {angles_[class_index].data(), count_, dims, dims};
}

std::size_t CpuLayerOps::class_of(std::int32_t layer) const {
  return static_cast<std::size_t>(config_.class_of_layer[static_cast<std::size_t>(layer)]);
}

Matrix CpuLayerOps::view(Buffer buffer) const {
  const std::int64_t columns = buffer_columns(config_, buffer);
  // The buffers belong to this object; only their owner's constness is in the way.
  auto* data = const_cast<float*>(buffers_[index_of(buffer)].data());
  return {data, count_, columns, columns};
}

Status CpuLayerOps::embed(const WeightView& table, float scale) {
  return embed_tokens(table, rows_.tokens, parts_.isa, view(Buffer::kResidual), scale);
}

Status CpuLayerOps::rms_norm(Buffer x, std::span<const float> gain, Buffer out) {
  onebeat::rms_norm(view(x), gain.data(), config_.norm_epsilon, view(out), pool_);
  return Status();
}

Status CpuLayerOps::rms_norm_add(Buffer x, std::span<const float> gain, Buffer out) {
  onebeat::rms_norm_add(view(x), gain.data(), config_.norm_epsilon, view(out), pool_);
  return Status();
}

Status CpuLayerOps::rms_norm_heads(Buffer x, std::span<const float> gain) {
  // Heads lie one after the other: to the norm they are so many shorter rows.
  const Matrix rows = view(x);
  const std::int64_t dim = config_.head_dim;
  const Matrix heads = {rows.data, rows.rows * rows.cols / dim, dim, dim};
  onebeat::rms_norm(heads, gain.data(), config_.norm_epsilon, heads, pool_);
  return Status();
}

Status CpuLayerOps::multiply(ConstMatrix x, std::span<const LinearPart> parts) {
  std::array<LinearPart, kMostProducts> of_run;
  std::int64_t first = 0;
  for (const RowRun& run : rows_.runs) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      of_run[i] = parts[i];
      of_run[i].out.data = parts[i].out.row(first);
      of_run[i].out.rows = run.count;
    }
    const ConstMatrix input = {x.row(first), run.count, x.cols, x.stride};
    const LinearOptions options = {parts_.mode, parts_.isa, run.tiles};
    ONEBEAT_RETURN_IF_ERROR(onebeat::linear(input, {of_run.data(), parts.size()}, options, pool_));
    first += run.count;
  }
  return Status();
}

Status CpuLayerOps::linear(Buffer x, std::initializer_list<Product> products) {
  ONEBEAT_CHECK(products.size() <= kMostProducts);
  std::array<LinearPart, kMostProducts> parts;
  std::size_t count = 0;
  for (const Product& product : products)
    parts[count++] = part_of(*product.weight, view(product.out), false);
  return multiply(view(x), {parts.data(), count});
}

Status CpuLayerOps::linear_add(Buffer x, const LinearWeight& weight, Buffer out) {
  const LinearPart part = part_of(weight, view(out), true);
  return multiply(view(x), {&part, 1});
}

Status CpuLayerOps::rope(std::int32_t layer) {
  const std::size_t c = class_of(layer);
  const RopeParams& params = config_.classes[c].rope;
  apply_rope(params, angles(c), config_.head_dim, view(Buffer::kQuery), pool_);
  apply_rope(params, angles(c), config_.head_dim, view(Buffer::kKey), pool_);
  return Status();
}

Status CpuLayerOps::attention(std::int32_t layer) {
  const std::size_t class_index = class_of(layer);
  const AttentionClassConfig& attention_class = config_.classes[class_index];

  AppendLaunch append;
  append.k = heads_of<const float>(view(Buffer::kKey), config_.num_kv_heads, config_.head_dim);
  append.v = heads_of<const float>(view(Buffer::kValue), config_.num_kv_heads, config_.head_dim_v);
  append.slots = rows_.slots;
  append.kv = parts_.kv[static_cast<std::size_t>(layer)];
  ONEBEAT_RETURN_IF_ERROR(append_kv(append, pool_));

  ScoreOptions score;
  score.scale = attention_class.score_scale;
  score.soft_cap = attention_class.soft_cap;
  const std::int64_t prompt_rows = count_ - rows_.decode_rows;
  if (rows_.decode_rows > 0) {
    AttentionLaunch launch = attention_rows(0, rows_.decode_rows);
    launch.score = score;
    launch.kv = append.kv;
    launch.pages = rows_.decode_pages;
    ONEBEAT_RETURN_IF_ERROR(
        decode_attention(rows_.plans[class_index], launch, parts_.scratch[class_index], pool_));
    ++planned_launches_;
  }
  if (prompt_rows > 0) {
    AttentionLaunch launch = attention_rows(rows_.decode_rows, prompt_rows);
    launch.score = score;
    launch.kv = append.kv;
    launch.pages = rows_.prefill_pages;
    ONEBEAT_RETURN_IF_ERROR(
        prefill_attention(parts_.geometries[class_index], rows_.prefill, launch, pool_));
  }
  return Status();
}

AttentionLaunch CpuLayerOps::attention_rows(std::int64_t first, std::int64_t count) const {
  const Matrix query = view(Buffer::kQuery);
  const Matrix attended = view(Buffer::kAttended);
  AttentionLaunch launch;
  launch.q =
      dense_head_rows<const float>(query.row(first), count, config_.num_heads, config_.head_dim);
  launch.out =
      dense_head_rows<float>(attended.row(first), count, config_.num_heads, config_.head_dim_v);
  return launch;
}

Status CpuLayerOps::silu_mul() {
  onebeat::silu_mul(view(Buffer::kGate), view(Buffer::kUp), pool_);
  return Status();
}

Status CpuLayerOps::gelu_mul() {
  onebeat::gelu_mul(view(Buffer::kGate), view(Buffer::kUp), pool_);
  return Status();
}

Status CpuLayerOps::keep_output_rows() {
  const Matrix residual = view(Buffer::kResidual);
  std::int64_t kept = 0;
  for (const std::int32_t row : rows_.output_rows) {
    ONEBEAT_CHECK(row >= kept &&
                  row < count_);  // rising, so that no row is overwritten before it is moved
    std::copy_n(residual.row(row), residual.cols, residual.row(kept++));
  }
  count_ = kept;
  // However a row came here, its logits are those of any other with the same residual.
  outputs_ = {kept, false};
  rows_.runs = {&outputs_, 1};
  return Status();
}

}  // namespace onebeat
