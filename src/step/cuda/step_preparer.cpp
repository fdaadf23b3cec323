// SPDX-License-Identifier: Apache-2.0
// The host's side of prepare_step on the device: checks what it can see, fills the one parameter
// struct and decides how many blocks do what.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/error.h"
#include "device/cuda_capability.h"
#include "device/cuda_status.h"
#include "device/profiler_range.h"
#include "onebeat/step_cuda.h"
#include "step/cuda/narrow_tables.h"
#include "step/cuda/prepare_narrow.h"
#include "step/cuda/prepare_step.h"
#include "step/step_checks.h"

namespace onebeat {
namespace {

constexpr std::int64_t kMaxSlots = std::int64_t{1} << 31;

/// Chunks of live tables, in blocks that the device holds, up to which an empty block costs less
/// than a sum over all rows.
constexpr std::int64_t kDirectWaves = 8;

step::RequestSource request_source(const StepArguments& args, const StepPlanner& planner) {
  step::RequestSource source;
  source.lens = step::view_of(args.lens);
  if (args.query_tokens.size > 0) source.query_tokens = step::view_of(args.query_tokens);
  if (args.rows_of.size > 0) source.rows_of = step::view_of(args.rows_of);
  source.num_rows = std::numeric_limits<std::int64_t>::max();
  if (args.page_map != PageMapKind::kNone) source.num_rows = args.pages.rows;
  if (args.lens_by_row) source.num_rows = std::min(source.num_rows, args.lens.size);
  source.max_len = std::min({planner.limits().max_context_tokens,
                             step::page_map_tokens(args, planner.page_tokens()),
                             step::table_tokens(args, planner.page_tokens())});
  source.query_tokens_each = args.query_tokens_each;
  source.max_query_tokens = planner.limits().max_query_tokens;
  for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
    if (args.plans[static_cast<std::size_t>(c)] == nullptr) continue;
    source.max_query_tokens =
        std::min(source.max_query_tokens, planner.planner(c).geometry().max_query_tokens);
  }
  source.len_delta = args.len_delta;
  source.lens_by_row = args.lens_by_row;
  source.add_query_tokens = args.add_query_tokens;
  return source;
}

/// What the CPU twin finds when it reads, as far as the host sees it.
Status check_uniform_query_tokens(const StepArguments& args, const step::RequestSource& source) {
  if (args.query_tokens.size > 0 || args.query_tokens_each <= source.max_query_tokens) return {};
  return out_of_range("query_tokens_each is {}; the classes of this step take {}",
                      args.query_tokens_each, source.max_query_tokens);
}

void add_plans(const StepArguments& args, const StepPlanner& planner, cuda::PrepareParams& params) {
  for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
    const auto at = static_cast<std::size_t>(c);
    if (args.plans[at] == nullptr && args.counters[at] == nullptr) continue;
    const Planner& of_class = planner.planner(c);
    cuda::PlanTask& task = params.plans[params.num_plans++];
    task.division =
        plan::make_division(of_class.geometry(), of_class.cost_model(), of_class.limits());
    task.plan = args.plans[at];
    if (args.counters[at] == nullptr) continue;
    task.counters = args.counters[at];
    task.counter_words = static_cast<std::uint32_t>(of_class.scratch_size().counters);
  }
}

bool aligned_rows(const void* data, std::int64_t row_stride, std::int64_t column_stride) {
  return data == nullptr || (reinterpret_cast<std::uintptr_t>(data) % 16 == 0 &&
                             row_stride % 4 == 0 && column_stride == 1);
}

/// 16-byte copies need adjacent 32-bit entries that are table entries already.
bool can_use_vectors(const StepArguments& args, std::int32_t page_tokens) {
  const bool entries_are_pages = args.page_map == PageMapKind::kPages || page_tokens == 1;
  return entries_are_pages && args.pages.type == IndexType::kI32 &&
         aligned_rows(args.pages.data, args.pages.row_stride, args.pages.column_stride) &&
         aligned_rows(args.page_table.data, args.page_table.row_stride,
                      args.page_table.column_stride) &&
         aligned_rows(args.window_table.data, args.window_table.row_stride,
                      args.window_table.column_stride);
}

/// Where tables go. Returns the most columns that a row of them may have; 0: there are none.
Result<std::int64_t> add_tables(const StepArguments& args, const StepPlanner& planner,
                                cuda::PrepareParams& params) {
  if (args.tables == TableContract::kNone || args.num_requests == 0) return std::int64_t{0};
  const bool dense = args.tables == TableContract::kDense;
  cuda::TableWork& work = params.tables;
  work.pages = args.page_table;
  work.window_pages = args.window_table;
  work.dense_columns = dense ? args.dense_pages : -1;
  work.vectors = can_use_vectors(args, planner.page_tokens());
  const std::int64_t columns =
      dense ? args.dense_pages : step::pages_of_tokens(params.source.max_len, params.page_shift);
  if (columns > std::numeric_limits<std::int32_t>::max()) {
    return out_of_range("a page table of {} columns; the limit is 2147483647", columns);
  }
  return columns;
}

/// Chunks for the general kernels: as small as keeps every thread busy, larger where that still
/// fills the device.
void divide_tables(std::int64_t columns, std::int64_t requests, std::int32_t threads,
                   std::int64_t resident_blocks, cuda::PrepareParams& params) {
  cuda::TableWork& work = params.tables;
  const std::int64_t turn = std::int64_t{threads} * (work.vectors ? 4 : 1);
  const std::int64_t turns = work.vectors ? 4 : 8;
  const std::int64_t share = columns * requests / resident_blocks;
  const std::int64_t rounded = (share + turn - 1) / turn * turn;
  std::int64_t chunk = std::clamp(rounded, turn, turn * turns);
  // Numbers of chunks are 32-bit on the device.
  while ((columns + chunk - 1) / chunk * requests > std::numeric_limits<std::int32_t>::max()) {
    chunk *= 2;
  }
  work.chunk_columns = static_cast<std::int32_t>(chunk);
  const std::int64_t per_row = (columns + chunk - 1) / chunk;
  work.chunks_per_row = static_cast<std::int32_t>(per_row);
  const std::int64_t chunks = per_row * requests;
  work.direct = work.dense_columns < 0 && chunks <= kDirectWaves * resident_blocks;
  params.table_blocks =
      static_cast<std::int32_t>(work.direct ? chunks : std::min(chunks, resident_blocks));
}

/// Whether the step is of the common kind (narrow_params.h); fills `narrow` if it is.
cuda::NarrowVariant add_narrow(const StepArguments& args, const cuda::PrepareParams& params,
                               cuda::NarrowParams& narrow) {
  using cuda::NarrowVariant;
  const step::RequestSource& source = params.source;
  const bool contiguous = args.lens.type == IndexType::kI32 && args.lens.stride == 1 &&
                          reinterpret_cast<std::uintptr_t>(args.lens.data) % 16 == 0;
  if (!contiguous || source.lens_by_row || source.query_tokens.data != nullptr ||
      params.num_plans == 0 || args.tables != TableContract::kNone) {
    return NarrowVariant::kNone;
  }
  const std::int64_t tokens = source.query_tokens_each;
  const std::int64_t delta =
      std::int64_t{source.len_delta} + (source.add_query_tokens ? tokens : 0);
  const std::int64_t highest = source.max_len - delta;
  if (std::min(-delta, highest) < std::numeric_limits<std::int32_t>::min() ||
      std::max(-delta, highest) > std::numeric_limits<std::int32_t>::max()) {
    return NarrowVariant::kNone;
  }
  narrow.lens.stored = static_cast<const std::int32_t*>(source.lens.data);
  narrow.lens.lowest = static_cast<std::int32_t>(-delta);
  narrow.lens.highest = static_cast<std::int32_t>(highest);
  narrow.lens.delta = static_cast<std::int32_t>(delta);
  narrow.lens.query_tokens = static_cast<std::uint32_t>(tokens);
  narrow.lens.least = static_cast<std::uint32_t>(tokens <= source.max_len ? tokens : 0);
  narrow.work = params;
  narrow.num_plans = static_cast<std::uint32_t>(params.num_plans);
  std::uint32_t workers = 0;
  for (std::uint32_t c = 0; c < narrow.num_plans; ++c) {
    const cuda::PlanTask& task = params.plans[c];
    if (!plan::fits_narrow(task.division, static_cast<std::uint64_t>(args.num_requests),
                           static_cast<std::uint32_t>(source.max_len), narrow.lens.query_tokens)) {
      return NarrowVariant::kNone;
    }
    narrow.plans[c].division = plan::narrow_division(task.division, narrow.lens.query_tokens);
    narrow.plans[c].plan = task.plan;
    narrow.plans[c].counters = task.counters;
    narrow.plans[c].counter_words = task.counter_words;
    narrow.plans[c].header = plan::header_of(task.division, 0, 0);
    workers = std::max(workers, task.division.workers);
  }
  const NarrowVariant variant = cuda::narrow_variant(args.num_requests, workers);
  narrow.slice_shift = variant == NarrowVariant::kLarge ? 3 : 0;
  return variant;
}

cuda::PrepareParams prepare_params(const StepArguments& args, const StepPlanner& planner) {
  cuda::PrepareParams params;
  params.source = request_source(args, planner);
  params.num_active = args.num_active;
  params.num_requests = args.num_requests;
  if (args.page_map != PageMapKind::kNone) {
    params.map = step::view_of(args.pages, args.page_map);
    params.map_columns = args.pages.columns;
  }
  params.window = step::window_map_of(args);
  params.page_shift = step::page_shift_of(planner.page_tokens());
  params.slots_end =
      args.pool_pages == 0 ? kMaxSlots : std::min(kMaxSlots, args.pool_pages << params.page_shift);
  params.updates = args.updates;
  params.outputs = {args.out_lens,  args.cu_seqlens_q, args.cu_seqlens_k,
                    args.positions, args.slots,        args.window_slots};
  add_plans(args, planner, params);
  return params;
}

}  // namespace

Result<CudaStepPreparer> CudaStepPreparer::create(const StepPlanner& planner) {
  int device = 0;
  int multiprocessors = 0;
  ONEBEAT_ASSIGN_OR_RETURN(const CudaCapability capability, current_capability());
  ONEBEAT_RETURN_IF_ERROR(check_capability(capability));
  if (capability.major < 9) {
    return unsupported("compute capability {}.{}; prepare_step needs 9.0 or newer",
                       capability.major, capability.minor);
  }
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(cuda::prepare_kernels_setup());
  CudaStepPreparer preparer;
  preparer.planner_ = &planner;
  preparer.multiprocessors_ = multiprocessors;
  return preparer;
}

bool CudaStepPreparer::takes_narrow(const StepArguments& args) const {
  if (!step::check_arguments(args, *planner_).ok()) return false;
  cuda::PrepareParams params = prepare_params(args, *planner_);
  cuda::NarrowParams narrow;
  if (add_narrow(args, params, narrow) != cuda::NarrowVariant::kNone) return true;
  const Result<std::int64_t> columns = add_tables(args, *planner_, params);
  return columns.ok() && takes_narrow_tables(params, *columns);
}

Status CudaStepPreparer::prepare(const StepArguments& args, const StepLaunch& launch,
                                 CUstream_st* stream) const {
  const ProfilerRange range("prepare_step");
  ONEBEAT_RETURN_IF_ERROR(step::check_arguments(args, *planner_));
  cuda::PrepareParams params = prepare_params(args, *planner_);
  ONEBEAT_RETURN_IF_ERROR(check_uniform_query_tokens(args, params.source));
  params.status = launch.status;
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t columns, add_tables(args, *planner_, params));

  if (launch.kernels == StepKernels::kFastest) {
    cuda::NarrowParams narrow;
    const cuda::NarrowVariant variant = add_narrow(args, params, narrow);
    if (variant != cuda::NarrowVariant::kNone) {
      return cuda_status(cuda::launch_narrow(narrow, variant, launch.programmatic, stream),
                         "prepare_step (narrow)");
    }
    if (takes_narrow_tables(params, columns)) {
      return cuda_status(cuda::launch_narrow_tables(params, columns, multiprocessors_,
                                                    launch.programmatic, stream),
                         "prepare_step (narrow tables)");
    }
  }
  const bool plans = params.num_plans > 0;
  std::uint32_t most_workers = 0;
  for (std::int32_t c = 0; c < params.num_plans; ++c) {
    most_workers = std::max(most_workers, params.plans[c].division.workers);
  }
  const std::int32_t threads =
      cuda::prepare_block_threads(args.num_requests, static_cast<std::int32_t>(most_workers));
  params.request_blocks = std::max(1, (args.num_requests + threads - 1) / threads);
  const std::int64_t resident =
      std::int64_t{multiprocessors_} * cuda::prepare_blocks_per_multiprocessor(threads, plans) -
      params.num_plans - params.request_blocks;
  if (columns > 0) {
    divide_tables(columns, args.num_requests, threads, std::max<std::int64_t>(resident, 1), params);
  }
  return cuda_status(cuda::launch_prepare(params, threads, launch.programmatic, stream),
                     "prepare_step");
}

}  // namespace onebeat
