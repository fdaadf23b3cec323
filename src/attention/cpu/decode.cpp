// SPDX-License-Identifier: Apache-2.0
// Executes a plan's bytes. Threads claim workers; a worker walks its segments, one step of KV
// tokens ahead of itself, so that the memory of the next step is on its way, across segments and
// requests, and at its end into the worker that the thread is likely to run next.
//
// 1. A segment that is a whole unit writes the output. A partial one writes its slot, then raises
// the arrival counter
//    of the unit; whoever completes the count merges all partials, in worker order (or in the order
//    of the fixed tree), and zeroes the counter. Nobody waits, so any number of threads, in any
//    order, finishes.
// 2. The counter is raised with acquire-release order: the last arriver sees what all others wrote.
// 3. Lengths and query rows come from the plan, which PlanView has checked against its own bytes;
// check_launch() has
//    checked them against the tensors. What the view leaves open (partial counts) is bounded here
//    and reported.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "attention/cpu/decode_execution.h"
#include "attention/cpu/launch_frame.h"
#include "attention/cpu/page_walk.h"
#include "attention/cpu/query_tile.h"
#include "attention/cpu/scratch_slots.h"
#include "attention/launch_check.h"
#include "base/error.h"
#include "device/thread_pool.h"

namespace onebeat::cpu {
namespace {

struct DecodeContext {
  const PlanView& plan;
  const PageWalk walk;
  const ScratchSlots slots;
  std::span<std::uint32_t> counters;
  const DecodeSeams& seams;
};

/// A step of a segment; without tokens if the segment has none.
struct SegmentStep {
  Segment segment;
  Step step;
  bool first = false;  ///< Of its segment.
  bool last = false;
};

/// Walks the steps of one worker.
class StepWalk {
 public:
  StepWalk(const DecodeContext& context, std::uint32_t worker)
      : context_(context), cursor_(context.plan.first_segment(worker)) {}

  bool next(SegmentStep& out, std::uint32_t& faults) {
    out.first = done_;
    if (done_) {
      if (!context_.plan.next_segment(cursor_, segment_)) return false;
      token_ = segment_.token_begin;
    }
    const auto end = std::max(segment_.token_end, segment_.token_begin);
    const auto stop = static_cast<std::uint32_t>(step_end(context_.plan.geometry(), token_, end));
    out.segment = segment_;
    out.step.begin = token_;
    out.step.tokens = static_cast<std::int32_t>(stop - token_);
    if (stop > token_) {
      faults |= context_.walk.resolve(segment_.request, segment_.kv_head, token_, stop,
                                      out.step.k_offsets, out.step.v_offsets);
    }
    token_ = stop;
    done_ = stop == end;
    out.last = done_;
    return true;
  }

 private:
  const DecodeContext& context_;
  PlanView::SegmentCursor cursor_;
  Segment segment_;
  std::uint32_t token_ = 0;
  bool done_ = true;
};

class WorkerRun {
 public:
  WorkerRun(const DecodeContext& context, const TileContext& tile_context,
            std::span<std::byte> workspace, std::int32_t nodes)
      : context_(context),
        geometry_(context.plan.geometry()),
        kernels_(*tile_context.kernels),
        tile_(tile_context, workspace, nodes) {}

  std::uint32_t run(std::uint32_t worker) {
    if (!is_stamped(worker)) return faults_ |= kFaultPlan;
    worker_ = worker;
    StepWalk walk(context_, worker);
    SegmentStep steps[2];
    bool more = walk.next(steps[0], faults_);
    for (int at = 0; more; at ^= 1) {
      more = walk.next(steps[at ^ 1], faults_);
      const bool fetch = more || first_step(worker + 1, steps[at ^ 1]);
      do_step(steps[at], fetch ? &steps[at ^ 1].step : nullptr);
    }
    return faults_;
  }

 private:
  bool is_stamped(std::uint32_t worker) const {
    return context_.plan.workers()[worker].stamp == context_.plan.header().stamp;
  }

  /// What `worker` begins with, if it has work; only its memory is asked for.
  bool first_step(std::uint32_t worker, SegmentStep& out) const {
    std::uint32_t faults = 0;  // reported by who runs that worker
    return worker < context_.plan.header().workers_active && is_stamped(worker) &&
           StepWalk(context_, worker).next(out, faults);
  }

  bool invariant() const { return geometry_.invariant_chunk_tokens > 0; }

  ChunkRange request_chunks(std::uint32_t request) const {
    const RequestRecord& record = context_.plan.requests()[request];
    return chunks_of(geometry_, record.first, record.len);
  }

  void do_step(const SegmentStep& now, const Step* next) {
    const Segment& segment = now.segment;
    if (now.first) begin(segment);
    if (now.step.tokens > 0) {
      tile_.attend(now.step, next);
      const std::int64_t end = now.step.begin + now.step.tokens;
      if (invariant() && (now.last || end % geometry_.invariant_chunk_tokens == 0)) {
        const auto chunk =
            static_cast<std::uint32_t>(now.step.begin / geometry_.invariant_chunk_tokens);
        if (!tile_.close_chunk(chunk)) faults_ |= kFaultPlan;
      }
    }
    if (!now.last) return;
    if (segment.partials == 0) {
      tile_.write(tile_.node(0));
    } else {
      leave_partial(segment);
    }
  }

  void begin(const Segment& segment) {
    const PlanView& plan = context_.plan;
    const std::int64_t heads = heads_per_kv_head(geometry_);
    TileRows rows;
    rows.request = segment.request;
    rows.kv_head = segment.kv_head;
    rows.first_token = plan.query_begin()[segment.request];
    rows.query_tokens = plan.query_tokens(segment.request);
    rows.len = plan.requests()[segment.request].len;
    rows.first_row = static_cast<std::int64_t>(segment.query_tile) * kQueryTileRows;
    rows.rows = static_cast<std::int32_t>(
        std::min<std::int64_t>(kQueryTileRows, heads * rows.query_tokens - rows.first_row));
    if (invariant()) {
      tile_.begin(rows, request_chunks(segment.request), segment.token_begin / chunk_tokens());
    } else {
      tile_.begin(rows);
    }
  }

  std::uint32_t chunk_tokens() const {
    return static_cast<std::uint32_t>(geometry_.invariant_chunk_tokens);
  }

  void leave_partial(const Segment& segment) {
    const auto workers = static_cast<std::uint32_t>(geometry_.workers);
    const bool in_range = segment.owner < workers && segment.partials <= workers - segment.owner &&
                          (segment.owner == worker_ || segment.slot % 2 == 0);
    // What a run leaves must fit its slot; a middle run has both slots of its worker.
    const bool ends_unit = segment.owner + segment.partials - 1 == worker_;
    const bool middle = segment.owner != worker_ && !ends_unit;
    const std::int64_t room = context_.slots.nodes_per_slot() * (middle ? 2 : 1);
    if (!in_range || tile_.num_nodes() > room) {
      faults_ |= kFaultPlan;
      return;
    }
    for (std::int32_t i = 0; i < tile_.num_nodes(); ++i) {
      copy(tile_.node(i), context_.slots.at(segment.slot, i));
    }
    if (context_.seams.before_arrival != nullptr)
      context_.seams.before_arrival(context_.seams.context, worker_);
    std::atomic_ref<std::uint32_t> counter(context_.counters[segment.owner]);
    if (counter.fetch_add(1, std::memory_order_acq_rel) + 1 != segment.partials) return;
    counter.store(0, std::memory_order_relaxed);
    if (invariant()) {
      merge_tree(segment);
    } else {
      merge_in_order(segment);
    }
  }

  void copy(const RowPartials& from, const RowPartials& to) const {
    const std::int32_t rows = tile_.rows().rows;
    std::copy_n(from.maxima, rows, to.maxima);
    std::copy_n(from.sums, rows, to.sums);
    for (std::int32_t row = 0; row < rows; ++row) {
      std::copy_n(from.outputs + row * from.output_stride, geometry_.head_dim_v,
                  to.outputs + row * to.output_stride);
    }
  }

  void merge(const RowPartials& into, const RowPartials& from) const {
    kernels_.merge(into, from, tile_.rows().rows, geometry_.head_dim_v);
  }

  std::uint32_t slot_of_partial(const Segment& segment, std::uint32_t partial) const {
    return partial == 0 ? 2 * segment.owner + 1 : 2 * (segment.owner + partial);
  }

  void merge_in_order(const Segment& segment) const {
    const RowPartials into = context_.slots.at(slot_of_partial(segment, 0), 0);
    for (std::uint32_t partial = 1; partial < segment.partials; ++partial) {
      merge(into, context_.slots.at(slot_of_partial(segment, partial), 0));
    }
    tile_.write(into);
  }

  // The runs of the unit's workers, each as the nodes that it left, merged over the tree; every
  // merge goes into the left node's place in scratch.
  void merge_tree(const Segment& segment) {
    constexpr int kMaxDepth = 34;
    const ChunkRange request = request_chunks(segment.request);
    RowPartials nodes[kMaxDepth];
    std::uint32_t begins[kMaxDepth];
    int depth = 0;
    ChunkRange run{request.begin, request.begin};
    for (std::uint32_t partial = 0; partial < segment.partials; ++partial) {
      run.begin = run.end;
      run.end = partial + 1 == segment.partials ? request.end
                                                : first_chunk_of(segment.owner + partial + 1);
      std::uint32_t chunk = run.begin;
      const std::int64_t room = context_.slots.nodes_per_slot() * 2;
      for (std::int64_t node = 0; chunk < run.end; ++node) {
        if (node >= room || depth == kMaxDepth) {
          faults_ |= kFaultPlan;
          return;
        }
        begins[depth] = chunk;
        nodes[depth++] = context_.slots.at(slot_of_partial(segment, partial), node);
        chunk = tree_node_of_run(chunk, run, request);
        while (depth >= 2 &&
               tree_merges(begins[depth - 2], begins[depth - 1], chunk, request.begin, request)) {
          merge(nodes[depth - 2], nodes[depth - 1]);
          --depth;
        }
      }
    }
    if (depth == 1) {
      tile_.write(nodes[0]);
    } else {
      faults_ |= kFaultPlan;
    }
  }

  // First chunk of the run with which a worker continues a unit.
  std::uint32_t first_chunk_of(std::uint32_t worker) const {
    const std::int64_t token =
        std::int64_t{context_.plan.workers()[worker].begin_tile} * geometry_.tile_tokens;
    return static_cast<std::uint32_t>(token / geometry_.invariant_chunk_tokens);
  }

  const DecodeContext& context_;
  const AttentionGeometry& geometry_;
  const KernelTable& kernels_;
  QueryTile tile_;
  std::uint32_t worker_ = 0;
  std::uint32_t faults_ = 0;
};

LaunchExtent extent_of(const PlanView& plan) {
  LaunchExtent extent;
  extent.requests = plan.header().num_active;
  extent.query_tokens = plan.query_begin()[plan.header().num_active];
  for (std::uint32_t r = 0; r < plan.header().num_active; ++r) {
    extent.max_query_tokens = std::max<std::int64_t>(extent.max_query_tokens, plan.query_tokens(r));
    extent.longest = std::max<std::int64_t>(extent.longest, plan.requests()[r].len);
  }
  return extent;
}

Status check_scratch(const AttentionGeometry& geometry, const AttentionScratch& scratch,
                     const ScratchSlots& slots, const LaunchExtent& extent) {
  std::int64_t nodes = 1;
  if (geometry.invariant_chunk_tokens > 0) {
    nodes = tree_nodes_per_slot(chunks_of(geometry, 0, extent.longest).end);
  }
  if (slots.nodes_per_slot() < nodes) {
    return invalid_argument(
        "attention scratch of {} and {} floats has room for {} results in a slot; {} workers and "
        "{} tokens need {} "
        "(see Planner::scratch_size)",
        scratch.outputs.size(), scratch.stats.size(), slots.nodes_per_slot(), geometry.workers,
        extent.longest, nodes);
  }
  if (scratch.counters.size() < static_cast<std::size_t>(geometry.workers)) {
    return invalid_argument("attention scratch has {} counters for {} workers",
                            scratch.counters.size(), geometry.workers);
  }
  return {};
}

}  // namespace

Status execute_decode(const PlanView& plan, const AttentionLaunch& launch,
                      const AttentionScratch& scratch, ThreadPool& pool, const DecodeSeams& seams) {
  const AttentionGeometry& geometry = plan.geometry();
  if (launch.report != nullptr) *launch.report = {};
  ONEBEAT_ASSIGN_OR_RETURN(const KernelTable* kernels, choose_kernels(launch.variant));
  const LaunchExtent extent = extent_of(plan);
  ONEBEAT_RETURN_IF_ERROR(check_launch(geometry, launch, extent));
  ONEBEAT_RETURN_IF_ERROR(check_host_kv_scales(launch.kv));
  const DecodeContext context{plan, PageWalk(launch.kv, launch.pages),
                              ScratchSlots(geometry, scratch), scratch.counters, seams};
  ONEBEAT_RETURN_IF_ERROR(check_scratch(geometry, scratch, context.slots, extent));

  const std::int32_t nodes = QueryTile::nodes_needed(geometry, extent.longest);
  const std::size_t bytes = QueryTile::workspace_bytes(geometry, nodes);
  ONEBEAT_RETURN_IF_ERROR(reserve_workspaces(pool, bytes));

  const TileContext tile_context{&geometry, &launch, kernels};
  std::atomic<std::uint32_t> faults{0};
  // Shares: a thread's next worker is the one after, whose memory run() has asked for.
  pool.parallel_shares(
      plan.header().workers_active, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
        WorkerRun run(context, tile_context, pool.workspace(thread, bytes), nodes);
        for (std::int64_t i = begin; i < end; ++i) {
          const auto worker =
              seams.order != nullptr ? seams.order[i] : static_cast<std::uint32_t>(i);
          const std::uint32_t found = run.run(worker);
          if (found != 0) faults.fetch_or(found, std::memory_order_relaxed);
        }
      });
  return report_faults(faults.load(), *kernels, launch.report);
}

}  // namespace onebeat::cpu

namespace onebeat {

Status decode_attention(const PlanView& plan, const AttentionLaunch& launch,
                        const AttentionScratch& scratch, ThreadPool& pool) {
  return cpu::execute_decode(plan, launch, scratch, pool, {});
}

}  // namespace onebeat
