// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/cpu_forward.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

/// The plan of a class does not depend on the number of threads, so that a reply does not either.
constexpr std::int32_t kWorkers = 32;
constexpr std::int32_t kTileTokens = 64;
/// A worker is not worth waking and merging for less than this many tiles.
constexpr std::uint32_t kMinWorkerTiles = 4;
/// Where the batch-invariant mode may cut a request.
constexpr std::int32_t kInvariantChunkTokens = 256;
constexpr std::size_t kPlanAlignment = 16;

AttentionGeometry planned_geometry(const ModelConfig& config, std::int32_t class_index,
                                   const CpuForwardOptions& options) {
  AttentionGeometry geometry = class_geometry(config, class_index, options.kv_type, kCpuPageTokens);
  geometry.tile_tokens = kTileTokens;
  geometry.workers = kWorkers;
  geometry.max_query_tokens = 1;
  // In every mode: it costs nothing that can be measured, and what 8-bit activations make of a
  // sum's last bit is a margin of 0.05 and more.
  geometry.invariant_chunk_tokens = kInvariantChunkTokens;
  return geometry;
}

}  // namespace

std::byte* CpuForward::ClassMemory::plan_bytes() {
  void* begin = plan.data();
  std::size_t room = plan.size();
  return static_cast<std::byte*>(std::align(kPlanAlignment, 1, begin, room));
}

Result<std::unique_ptr<CpuForward>> CpuForward::create(const Model& model,
                                                       const CpuForwardOptions& options,
                                                       const PagePool& pages, ThreadPool& pool) {
  ONEBEAT_CHECK(pages.shape().page_tokens == kCpuPageTokens);
  ONEBEAT_CHECK(options.max_rows >= options.max_decode_rows);
  if (options.kv_type == KvType::kF8E4M3)
    return unsupported("the engine keeps no KV in fp8, for want of scales; use f16, bf16 or f32");
  const ModelConfig& config = model.config();
  std::unique_ptr<CpuForward> forward(new CpuForward(model, options, pages));
  ONEBEAT_ASSIGN_OR_RETURN(
      KvStorage storage,
      KvStorage::create(config, options.kv_type, kCpuPageTokens, pages.shape().num_pages));
  forward->storage_ = std::make_unique<KvStorage>(std::move(storage));
  ONEBEAT_RETURN_IF_ERROR(forward->make_planner());
  forward->reserve_rows();

  CpuLayerOpsParts parts;
  parts.max_rows = options.max_rows;
  parts.max_output_rows = options.max_output_rows;
  parts.mode = options.mode;
  parts.isa = options.isa;
  parts.kv = forward->storage_->layers();
  for (std::size_t c = 0; c < forward->classes_.size(); ++c) {
    ClassMemory& memory = forward->classes_[c];
    parts.geometries.push_back(forward->planner_->planner(static_cast<std::int32_t>(c)).geometry());
    parts.scratch.push_back({memory.outputs, memory.stats, memory.counters});
  }
  ONEBEAT_ASSIGN_OR_RETURN(forward->ops_, CpuLayerOps::create(config, std::move(parts), pool));
  return forward;
}

Status CpuForward::make_planner() {
  const ModelConfig& config = model_.config();
  std::vector<StepClass> classes;
  for (std::size_t c = 0; c < config.classes.size(); ++c) {
    CostModel cost;
    cost.min_tiles = 2;
    cost.min_worker_cost = 256 * kMinWorkerTiles;
    classes.push_back({planned_geometry(config, static_cast<std::int32_t>(c), options_), cost});
  }
  ONEBEAT_ASSIGN_OR_RETURN(StepPlanner planner, StepPlanner::create(classes, kCpuPageTokens,
                                                                    {options_.max_decode_rows,
                                                                     options_.context_tokens, 1}));
  planner_ = std::make_unique<StepPlanner>(std::move(planner));
  for (std::int32_t c = 0; c < planner_->num_classes(); ++c) {
    const ScratchSize size = planner_->planner(c).scratch_size();
    ClassMemory memory;
    memory.plan.resize(planner_->plan_bytes(c) + kPlanAlignment);
    memory.outputs.resize(static_cast<std::size_t>(size.output_floats));
    memory.stats.resize(static_cast<std::size_t>(size.stats_floats));
    memory.counters.resize(static_cast<std::size_t>(size.counters));
    classes_.push_back(std::move(memory));
  }
  plans_.reserve(classes_.size());
  return Status();
}

void CpuForward::reserve_rows() {
  const auto rows = static_cast<std::size_t>(options_.max_rows);
  for (std::vector<std::int32_t>* per_token : {&tokens_, &positions_, &slots_, &output_rows_})
    per_token->resize(rows);
  // Every request has at least one token.
  rows_of_.resize(rows);
  query_begin_.reserve(rows + 1);
  runs_.reserve(2 * rows);
  lens_.reserve(rows);
}

PageMap CpuForward::page_map(std::size_t first_request) const {
  const PagePoolShape& shape = pages_.shape();
  return {pages_.page_map().data(), shape.row_pages, shape.num_rows, shape.row_pages,
          rows_of_.data() + first_request};
}

Status CpuForward::prepare_decode(std::span<const DecodeToken> decode) {
  plans_.clear();
  if (decode.empty()) return Status();
  const std::size_t count = decode.size();
  for (std::size_t i = 0; i < count; ++i) {
    rows_of_[i] = decode[i].row;
    tokens_[i] = decode[i].token;
    positions_[i] = decode[i].position;
    output_rows_[i] = static_cast<std::int32_t>(i);
  }
  const PagePoolShape& shape = pages_.shape();
  StepArguments step;
  step.num_requests = static_cast<std::int32_t>(count);
  step.lens = std::span<const std::int32_t>(positions_.data(), count);
  step.add_query_tokens = true;
  step.rows_of = std::span<const std::int32_t>(rows_of_.data(), count);
  step.page_map = PageMapKind::kPages;
  step.pages = {pages_.page_map().data(), shape.num_rows, shape.row_pages, shape.row_pages, 1,
                IndexType::kI32};
  step.pool_pages = shape.num_pages;
  step.slots = std::span<std::int32_t>(slots_.data(), count);
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    step.plans[c] = classes_[c].plan_bytes();
    step.counters[c] = classes_[c].counters.data();
  }
  ONEBEAT_RETURN_IF_ERROR(planner_->prepare(step));
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    const auto index = static_cast<std::int32_t>(c);
    ONEBEAT_ASSIGN_OR_RETURN(PlanView plan,
                             PlanView::open({classes_[c].plan_bytes(), planner_->plan_bytes(index)},
                                            planner_->planner(index).geometry()));
    plans_.push_back(plan);
    ++counters_.plans_made;
  }
  return Status();
}

void CpuForward::lay_out_parts(std::size_t decode_rows, std::span<const PromptTokens> parts) {
  // Counted from the pass's first row; `decode` rows were laid out before.
  query_begin_.assign(1, 0);
  lens_.clear();
  runs_.clear();
  add_run(static_cast<std::int64_t>(decode_rows), false);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const PromptTokens& part = parts[p];
    rows_of_[decode_rows + p] = part.row;
    const std::span<const std::int32_t> pages = pages_.pages(part.row);
    const auto first = decode_rows + static_cast<std::size_t>(query_begin_.back());
    for (std::size_t t = 0; t < part.tokens.size(); ++t) {
      const std::int32_t position = part.position + static_cast<std::int32_t>(t);
      tokens_[first + t] = part.tokens[t];
      positions_[first + t] = position;
      slots_[first + t] =
          pages[static_cast<std::size_t>(position / kCpuPageTokens)] * kCpuPageTokens +
          position % kCpuPageTokens;
    }
    const auto count = static_cast<std::int32_t>(part.tokens.size());
    add_run(part.tiles, true);
    add_run(count - part.tiles, false);
    query_begin_.push_back(query_begin_.back() + count);
    lens_.push_back(part.position + count);
  }
}

void CpuForward::add_run(std::int64_t count, bool tiles) {
  if (count == 0) return;
  if (runs_.empty() || runs_.back().tiles != tiles) runs_.push_back({0, tiles});
  runs_.back().count += count;
}

Status CpuForward::run(std::span<const DecodeToken> decode, std::span<const PromptTokens> parts) {
  std::size_t count = decode.size();
  for (const PromptTokens& part : parts) {
    ONEBEAT_CHECK(!part.tokens.empty());
    count += part.tokens.size();
  }
  ONEBEAT_CHECK(count >= 1 && count <= tokens_.size());
  ONEBEAT_RETURN_IF_ERROR(prepare_decode(decode));
  lay_out_parts(decode.size(), parts);

  std::size_t outputs = decode.size();
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto end = static_cast<std::int32_t>(decode.size()) + query_begin_[p + 1];
    const auto tokens = static_cast<std::int32_t>(parts[p].tokens.size());
    const std::int32_t wanted = parts[p].wanted == PromptLogits::kAll    ? tokens
                                : parts[p].wanted == PromptLogits::kLast ? 1
                                                                         : 0;
    for (std::int32_t row = end - wanted; row < end; ++row) output_rows_[outputs++] = row;
  }

  ForwardRows rows;
  rows.tokens = {tokens_.data(), count};
  rows.positions = {positions_.data(), count};
  rows.slots = {slots_.data(), count};
  rows.output_rows = {output_rows_.data(), outputs};
  rows.runs = runs_;
  rows.decode_rows = static_cast<std::int64_t>(decode.size());
  rows.plans = plans_;
  rows.decode_pages = page_map(0);
  rows.prefill = {query_begin_, lens_};
  rows.prefill_pages = page_map(decode.size());
  ops_->begin(rows);
  ONEBEAT_RETURN_IF_ERROR(model_.family().forward(*ops_));
  counters_.decode_steps += decode.empty() ? 0 : 1;
  counters_.prefill_chunks += static_cast<std::int64_t>(parts.size());
  return Status();
}

EngineCounters CpuForward::counters() const {
  EngineCounters counters = counters_;
  counters.planned_attentions = ops_->planned_launches();
  return counters;
}

}  // namespace onebeat
