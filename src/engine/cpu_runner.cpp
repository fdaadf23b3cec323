// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu_runner.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::int32_t kPageTokens = 32;
/// The plan of a class does not depend on the number of threads, so that a reply does not either.
constexpr std::int32_t kWorkers = 32;
constexpr std::int32_t kTileTokens = 64;
/// A worker is not worth waking and merging for less than this many tiles.
constexpr std::uint32_t kMinWorkerTiles = 4;
constexpr std::size_t kPlanAlignment = 16;

AttentionGeometry planned_geometry(const ModelConfig& config, std::int32_t class_index,
                                   KvType kv_type) {
  AttentionGeometry geometry = class_geometry(config, class_index, kv_type, kPageTokens);
  geometry.tile_tokens = kTileTokens;
  geometry.workers = kWorkers;
  geometry.max_query_tokens = 1;
  return geometry;
}

}  // namespace

std::byte* CpuRunner::ClassMemory::plan_bytes() {
  void* begin = plan.data();
  std::size_t room = plan.size();
  return static_cast<std::byte*>(std::align(kPlanAlignment, 1, begin, room));
}

Result<std::unique_ptr<CpuRunner>> CpuRunner::create(const Model& model,
                                                     const CpuRunnerOptions& options,
                                                     ThreadPool& pool) {
  const ModelConfig& config = model.config();
  if (options.context_tokens < 1 || options.context_tokens > INT32_MAX - kPageTokens) {
    return out_of_range("the context is {} tokens; it must be from 1 to {}", options.context_tokens,
                        INT32_MAX - kPageTokens);
  }
  if (options.prefill_chunk < 1 || options.prefill_chunk > 65536) {
    return out_of_range("the prefill chunk is {} tokens; it must be from 1 to 65536",
                        options.prefill_chunk);
  }
  ONEBEAT_CHECK(options.max_requests >= 1 && options.max_output_rows >= options.max_requests);
  if (options.kv_type == KvType::kF8E4M3)
    return unsupported("KV in fp8 is not implemented on the CPU");

  const std::int64_t row_pages = (options.context_tokens + kPageTokens - 1) / kPageTokens;
  const std::int64_t num_pages = row_pages * options.max_requests;
  if (num_pages > INT32_MAX / kPageTokens) {
    return out_of_range("{} requests of {} tokens are more than the cache can number",
                        options.max_requests, options.context_tokens);
  }
  std::unique_ptr<CpuRunner> runner(new CpuRunner(model, options));
  ONEBEAT_ASSIGN_OR_RETURN(
      PagePool pages,
      PagePool::create({static_cast<std::int32_t>(num_pages), kPageTokens, options.max_requests,
                        static_cast<std::int32_t>(row_pages)}));
  runner->pages_ = std::make_unique<PagePool>(std::move(pages));
  ONEBEAT_ASSIGN_OR_RETURN(KvStorage storage,
                           KvStorage::create(config, options.kv_type, kPageTokens, num_pages));
  runner->storage_ = std::make_unique<KvStorage>(std::move(storage));
  ONEBEAT_RETURN_IF_ERROR(runner->make_planner());

  const auto requests = static_cast<std::size_t>(options.max_requests);
  const auto rows = static_cast<std::size_t>(std::max(options.prefill_chunk, options.max_requests));
  runner->lens_.resize(requests);
  runner->rows_of_.resize(requests);
  runner->tokens_.resize(rows);
  runner->positions_.resize(rows);
  runner->slots_.resize(rows);
  runner->output_rows_.resize(rows);

  CpuLayerOpsParts parts;
  parts.max_rows = static_cast<std::int64_t>(rows);
  parts.max_output_rows = options.max_output_rows;
  parts.mode = options.mode;
  parts.isa = options.isa;
  parts.kv = runner->storage_->layers();
  for (std::size_t c = 0; c < runner->classes_.size(); ++c) {
    ClassMemory& memory = runner->classes_[c];
    parts.geometries.push_back(runner->planner_->planner(static_cast<std::int32_t>(c)).geometry());
    parts.scratch.push_back({memory.outputs, memory.stats, memory.counters});
  }
  ONEBEAT_ASSIGN_OR_RETURN(runner->ops_, CpuLayerOps::create(config, std::move(parts), pool));
  return runner;
}

Status CpuRunner::make_planner() {
  const ModelConfig& config = model_.config();
  std::vector<StepClass> classes;
  for (std::size_t c = 0; c < config.classes.size(); ++c) {
    CostModel cost;
    cost.min_tiles = 2;
    cost.min_worker_cost = 256 * kMinWorkerTiles;
    classes.push_back(
        {planned_geometry(config, static_cast<std::int32_t>(c), options_.kv_type), cost});
  }
  ONEBEAT_ASSIGN_OR_RETURN(StepPlanner planner, StepPlanner::create(classes, kPageTokens,
                                                                    {options_.max_requests,
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

Result<std::int32_t> CpuRunner::open_request() {
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t request, pages_->open_row());
  lens_[static_cast<std::size_t>(request)] = 0;
  return request;
}

void CpuRunner::close_request(std::int32_t request) {
  pages_->close_row(request);
}

PageMap CpuRunner::page_map() const {
  const PagePoolShape& shape = pages_->shape();
  return {pages_->page_map().data(), shape.row_pages, shape.num_rows, shape.row_pages,
          rows_of_.data()};
}

Status CpuRunner::reserve(std::int32_t request, std::int64_t tokens) {
  const std::int64_t after = length(request) + tokens;
  if (after > options_.context_tokens) {
    return out_of_range("the request would have {} tokens; the context has room for {}", after,
                        options_.context_tokens);
  }
  return pages_->reserve(request, after);
}

Status CpuRunner::prefill(std::int32_t request, std::span<const std::int32_t> tokens,
                          PromptLogits wanted) {
  const auto count = static_cast<std::int32_t>(tokens.size());
  ONEBEAT_CHECK(count >= 1 && count <= options_.prefill_chunk);
  ONEBEAT_RETURN_IF_ERROR(reserve(request, count));
  std::int32_t& len = lens_[static_cast<std::size_t>(request)];
  const std::span<const std::int32_t> pages = pages_->pages(request);
  for (std::int32_t t = 0; t < count; ++t) {
    const auto i = static_cast<std::size_t>(t);
    const std::int32_t position = len + t;
    positions_[i] = position;
    slots_[i] = pages[static_cast<std::size_t>(position / kPageTokens)] * kPageTokens +
                position % kPageTokens;
  }
  rows_of_[0] = request;
  std::size_t outputs = 0;
  if (wanted == PromptLogits::kAll) {
    outputs = tokens.size();
    std::iota(output_rows_.begin(), output_rows_.begin() + count, 0);
  } else if (wanted == PromptLogits::kLast) {
    outputs = 1;
    output_rows_[0] = count - 1;
  }
  const std::int32_t query_begin[] = {0, count};
  const std::int32_t lens[] = {len + count};

  ForwardRows rows;
  rows.tokens = tokens;
  rows.positions = {positions_.data(), tokens.size()};
  rows.slots = {slots_.data(), tokens.size()};
  rows.output_rows = {output_rows_.data(), outputs};
  rows.pages = page_map();
  rows.prefill = {query_begin, lens};
  ops_->begin(rows);
  if (const Status status = model_.family().forward(*ops_); !status.ok()) {
    pages_->shrink(request, len);
    return status;
  }
  len += count;
  ++counters_.prefill_chunks;
  return Status();
}

Status CpuRunner::prepare_step(std::span<const DecodeInput> inputs) {
  const auto count = inputs.size();
  const PagePoolShape& shape = pages_->shape();
  for (std::size_t i = 0; i < count; ++i) {
    rows_of_[i] = inputs[i].request;
    tokens_[i] = inputs[i].token;
    output_rows_[i] = static_cast<std::int32_t>(i);
  }
  StepArguments step;
  step.num_requests = static_cast<std::int32_t>(count);
  step.lens = std::span<const std::int32_t>(lens_);
  step.lens_by_row = true;
  step.add_query_tokens = true;
  step.rows_of = std::span<const std::int32_t>(rows_of_.data(), count);
  step.page_map = PageMapKind::kPages;
  step.pages = {pages_->page_map().data(),
                shape.num_rows,
                shape.row_pages,
                shape.row_pages,
                1,
                IndexType::kI32};
  step.pool_pages = shape.num_pages;
  step.positions = std::span<std::int32_t>(positions_.data(), count);
  step.slots = std::span<std::int32_t>(slots_.data(), count);
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    step.plans[c] = classes_[c].plan_bytes();
    step.counters[c] = classes_[c].counters.data();
  }
  ONEBEAT_RETURN_IF_ERROR(planner_->prepare(step));

  plans_.clear();
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

Status CpuRunner::decode(std::span<const DecodeInput> inputs) {
  const auto count = inputs.size();
  ONEBEAT_CHECK(count >= 1 && count <= rows_of_.size());
  for (const DecodeInput& input : inputs) ONEBEAT_RETURN_IF_ERROR(reserve(input.request, 1));
  ONEBEAT_RETURN_IF_ERROR(prepare_step(inputs));

  ForwardRows rows;
  rows.tokens = {tokens_.data(), count};
  rows.positions = {positions_.data(), count};
  rows.slots = {slots_.data(), count};
  rows.output_rows = {output_rows_.data(), count};
  rows.pages = page_map();
  rows.plans = plans_;
  ops_->begin(rows);
  ONEBEAT_RETURN_IF_ERROR(model_.family().forward(*ops_));
  for (const DecodeInput& input : inputs) ++lens_[static_cast<std::size_t>(input.request)];
  ++counters_.decode_steps;
  return Status();
}

EngineCounters CpuRunner::counters() const {
  EngineCounters counters = counters_;
  counters.planned_attentions = ops_->planned_launches();
  return counters;
}

}  // namespace onebeat
