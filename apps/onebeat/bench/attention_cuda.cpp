// SPDX-License-Identifier: Apache-2.0
#include "bench/attention_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/decode_workload.h"
#include "bench/report.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/plan.h"

namespace onebeat::cli {
namespace {

using Options = CudaAttentionBenchOptions;

/// Most KV tokens of a request.
constexpr std::int64_t kLongest = 1 << 18;

/// A shape's plan and who executes it. The view is of the bytes.
struct Planned {
  AttentionGeometry geometry;
  Planner planner;
  CudaDecodeAttention attention;
  std::vector<PlanHeader> bytes;
  PlanView view;
};

struct Measurement {
  std::string_view variant;
  double us = 0, spread = 0;
  std::uint32_t workers_active = 0;
  std::int32_t split_units = 0;
};

/// What all shapes share.
class Bench {
 public:
  Status open(const Options& options) {
    options_ = options;
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(options.device));
    return {};
  }

  /// Measures the limits and takes memory: seconds.
  Status set_up() {
    ONEBEAT_ASSIGN_OR_RETURN(stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(begin_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(end_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(limits_, measure_cuda_limits(stream_.get()));
    ONEBEAT_RETURN_IF_ERROR(
        memory_.allocate(options_.kv_type, facts_.memory_free_bytes, stream_.get()));
    ONEBEAT_ASSIGN_OR_RETURN(faults_, PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    return stream_.synchronize();
  }

  [[nodiscard]] const CudaDeviceFacts& facts() const { return facts_; }
  [[nodiscard]] const CudaLimits& limits() const { return limits_; }

  /// Everything about a shape that can be wrong without any device memory.
  [[nodiscard]] Result<Planned> plan(const DecodeShape& shape, std::string_view variant,
                                     bool batch_invariant) const {
    ONEBEAT_ASSIGN_OR_RETURN(
        CudaAttentionTuning tuning,
        cuda_attention_tuning(shape.head_dim, options_.kv_type, facts_.multiprocessors));
    if (options_.workers > 0) tuning.workers = options_.workers;
    if (options_.least_worker_tokens > 0) {
      tuning.cost.min_worker_cost = static_cast<std::uint32_t>(options_.least_worker_tokens) * 256 /
                                    static_cast<std::uint32_t>(tuning.tile_tokens);
    }
    AttentionGeometry g;
    if (batch_invariant) {
      tuning.cost = tuning.invariant_cost;
      g.invariant_chunk_tokens =
          options_.invariant_chunk > 0 ? options_.invariant_chunk : tuning.invariant_chunk_tokens;
    }
    g.num_heads = shape.heads;
    g.num_kv_heads = shape.kv_heads;
    g.head_dim = g.head_dim_v = shape.head_dim;
    g.page_tokens = shape.page;
    g.tile_tokens = tuning.tile_tokens;
    g.workers = tuning.workers;
    g.max_query_tokens = shape.query_tokens;
    g.kv_type = options_.kv_type;
    const auto requests = static_cast<std::int32_t>(shape.lens.size());
    ONEBEAT_ASSIGN_OR_RETURN(Planner planner,
                             Planner::create(g, tuning.cost, {requests, kLongest}));
    ONEBEAT_ASSIGN_OR_RETURN(CudaDecodeAttention attention,
                             CudaDecodeAttention::create(g, variant));
    const std::vector<std::int32_t> query_tokens(shape.lens.size(), shape.query_tokens);
    std::vector<PlanHeader> bytes(planner.plan_bytes() / sizeof(PlanHeader) + 1);
    ONEBEAT_ASSIGN_OR_RETURN(
        const PlanView view,
        planner.make_plan({shape.lens, query_tokens},
                          std::as_writable_bytes(std::span(bytes)).first(planner.plan_bytes())));
    if (shape.tokens() == 0)
      return invalid_argument("no request has a KV token: there is nothing to attend to");
    return Planned{g, std::move(planner), std::move(attention), std::move(bytes), view};
  }

  Result<Measurement> measure(const DecodeShape& shape, std::string_view variant,
                              bool batch_invariant) {
    ONEBEAT_ASSIGN_OR_RETURN(const Planned planned, plan(shape, variant, batch_invariant));
    const AttentionGeometry& g = planned.geometry;
    const PlanView& view = planned.view;
    const auto requests = static_cast<std::int32_t>(shape.lens.size());
    const std::int64_t tokens = std::int64_t{requests} * shape.query_tokens;
    ONEBEAT_ASSIGN_OR_RETURN(const auto device_plan,
                             DeviceBuffer<std::byte>::copy_of(view.bytes(), stream_.get()));
    const ScratchSize size = planned.planner.scratch_size();
    ONEBEAT_ASSIGN_OR_RETURN(const auto outputs, DeviceBuffer<float>::allocate(
                                                     static_cast<std::size_t>(size.output_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(const auto stats, DeviceBuffer<float>::allocate(
                                                   static_cast<std::size_t>(size.stats_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(auto counters, DeviceBuffer<std::uint32_t>::allocate(
                                                static_cast<std::size_t>(size.counters)));
    ONEBEAT_RETURN_IF_ERROR(counters.fill_bytes(0, stream_.get()));
    const AttentionScratch scratch{{outputs.data(), outputs.size()},
                                   {stats.data(), stats.size()},
                                   {counters.data(), counters.size()}};

    CudaAttentionLaunch launch;
    ONEBEAT_RETURN_IF_ERROR(memory_.lay_out(shape, stream_.get()));
    launch.pages = memory_.pages();
    const double bytes = shape.bytes(options_.kv_type);
    const double ideal = bytes / limits_.read_gb_per_s * 1e-3;
    // Enough launches that all sets together are several times the L2, and that the graph's start
    // does not count.
    const int launches = std::clamp(static_cast<int>(320e6 / bytes) + 1,
                                    ideal > 400   ? 3
                                    : ideal > 100 ? 6
                                                  : 12,
                                    640);
    launch.faults = faults_.data();
    launch.score.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    const auto layout = options_.layout == "runs" ? KvLayout::kRuns : KvLayout::kNhd;
    ONEBEAT_ASSIGN_OR_RETURN(
        const CudaGraph graph, CudaGraph::capture(stream_.get(), [&](cudaStream_t s) -> Status {
          for (int i = 0; i < launches; ++i) {
            const auto layer = static_cast<std::size_t>(i);
            launch.kv = memory_.kv(g, layout, layer);
            launch.q = dense_head_rows<const std::uint16_t>(memory_.rows(layer), tokens,
                                                            shape.heads, shape.head_dim);
            launch.out =
                dense_head_rows(memory_.rows(layer + 1), tokens, shape.heads, shape.head_dim);
            launch.overlap =
                i == 0 || options_.no_overlap ? CudaOverlap::kNone : CudaOverlap::kEarlyLoads;
            ONEBEAT_RETURN_IF_ERROR(planned.attention.launch(
                {device_plan.data(), plan_stamp(g), g.workers, requests}, launch, scratch, s));
          }
          return {};
        }));
    Measurement result;
    result.variant = planned.attention.variant().name;
    ONEBEAT_RETURN_IF_ERROR(time_graph(graph, launches, ideal, result));
    if (faults_.data()[0] != 0)
      return Status(StatusCode::kInternal,
                    fmt::format("a launch reported faults {:#x}", faults_.data()[0]));
    result.workers_active = view.header().workers_active;
    result.split_units = balance_of(view, planned.planner.cost_model()).split_units;
    return result;
  }

 private:
  Status time_graph(const CudaGraph& graph, int launches, double ideal, Measurement& result) {
    const int replays = std::clamp(static_cast<int>(300 / (launches * (ideal + 3))), 1, 4);
    std::vector<float> times;
    for (int i = 0; i < (ideal > 1000 ? 6 : 10); ++i) {
      ONEBEAT_RETURN_IF_ERROR(begin_.record(stream_.get()));
      for (int r = 0; r < replays; ++r) ONEBEAT_RETURN_IF_ERROR(graph.launch(stream_.get()));
      ONEBEAT_RETURN_IF_ERROR(end_.record(stream_.get()));
      ONEBEAT_ASSIGN_OR_RETURN(const float us, end_.microseconds_since(begin_));
      if (i > 0) times.push_back(us / static_cast<float>(replays * launches));
    }
    std::sort(times.begin(), times.end());
    result.us = times[times.size() / 2];
    result.spread = (times.back() - times.front()) / times[times.size() / 2];
    return {};
  }

  Options options_;
  CudaDeviceFacts facts_;
  CudaLimits limits_;
  CudaStream stream_;
  CudaEvent begin_, end_;
  DecodeMemory memory_;
  PinnedBuffer<std::uint32_t> faults_;
};

struct Row {
  DecodeShape shape;
  Measurement measured;
  double ideal_us = 0;
  double target_us = 0;
  double normal_us = 0;  ///< Of the same shape in the normal mode, if this row is batch-invariant.

  /// Of the stored figure, or of the target where none is stored.
  [[nodiscard]] double ratio() const {
    return (shape.peer_us > 0 ? shape.peer_us : target_us) / measured.us;
  }
};

struct Mean {
  double log_sum = 0;
  int count = 0;
  double worst = 1e9;
  double most = 0;
  void add(double ratio) {
    log_sum += std::log(ratio);
    worst = std::min(worst, ratio);
    most = std::max(most, ratio);
    ++count;
  }
};

std::string to_json(const Bench& bench, const Options& options, const std::vector<Row>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"attention\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":\"{}\","
      "\"read_limit_gb_per_s\":{:.0f},\"set\":{},\"kv_type\":{},\"layout\":{},\"overlap\":{},"
      "\"workers\":{},"
      "\"least_worker_tokens\":{},\"rows\":[",
      json_quoted(bench.facts().name), bench.facts().driver_version, today(), ONEBEAT_VERSION,
      bench.limits().read_gb_per_s, json_quoted(options.set),
      json_quoted(options.kv_type == KvType::kF16      ? "f16"
                  : options.kv_type == KvType::kF8E4M3 ? "fp8"
                                                       : "bf16"),
      json_quoted(options.layout), !options.no_overlap, options.workers,
      options.least_worker_tokens);
  for (const Row& row : rows) {
    const DecodeShape& s = row.shape;
    json += fmt::format(
        "{}\n{{\"group\":{},\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"batch\":{},\"page\":{},"
        "\"query_tokens\":{},\"variant\":{},\"us\":{:.3f},\"spread\":{:.4f},\"ideal_us\":{:.3f},"
        "\"share\":{:.3f},\"stored_peer_us\":{:.2f},\"peer\":{},\"workers_active\":{},\"split_"
        "units\":{}{}}}",
        &row == rows.data() ? "" : ",", json_quoted(s.group), s.heads, s.kv_heads, s.head_dim,
        json_quoted(s.batch), s.page, s.query_tokens, json_quoted(row.measured.variant),
        row.measured.us, row.measured.spread, row.ideal_us, row.ideal_us / row.measured.us,
        s.peer_us, json_quoted(s.peer), row.measured.workers_active, row.measured.split_units,
        row.normal_us > 0 ? fmt::format(",\"normal_us\":{:.3f}", row.normal_us) : "");
  }
  return json + "\n]}\n";
}

std::string to_text(const Bench& bench, const std::vector<Row>& rows) {
  std::string text = fmt::format(
      "{}, reading memory at {:.0f} GB/s; target: 3 us + ideal / 0.95; ratio: stored peer / ours, "
      "target / ours where there is none\n",
      bench.facts().name, bench.limits().read_gb_per_s);
  text += fmt::format("{:<12} {:<30} {:>4} {:<24} {:>9} {:>9} {:>5} {:>9} {:>12} {:>5}\n", "heads",
                      "batch", "page", "kernel", "us", "ideal", "share", "target", "stored peer",
                      "ratio");
  std::map<std::string, Mean> means;
  Mean costs;
  int within = 0;
  for (const Row& row : rows) {
    const DecodeShape& s = row.shape;
    text += fmt::format(
        "{:<12} {:<30} {:>4} {:<24} {:>9.2f} {:>9.2f} {:>5.2f} {:>9.2f} {:>12} {:>5.2f}{}\n",
        s.group, s.batch, s.page, row.measured.variant, row.measured.us, row.ideal_us,
        row.ideal_us / row.measured.us, row.target_us,
        s.peer_us > 0 ? fmt::format("{:.2f}", s.peer_us) : "-", row.ratio(),
        row.normal_us > 0 ? fmt::format(", {:.3f} x normal", row.measured.us / row.normal_us) : "");
    means["all"].add(row.ratio());
    means[fmt::format("{} page {}", s.group, s.page)].add(row.ratio());
    within += row.measured.us <= row.target_us ? 1 : 0;
    if (row.normal_us > 0) costs.add(row.measured.us / row.normal_us);
  }
  for (const auto& [group, mean] : means) {
    text += fmt::format("{}: geometric mean of ratios {:.3f}, worst {:.2f}, {} rows\n", group,
                        std::exp(mean.log_sum / mean.count), mean.worst, mean.count);
  }
  if (costs.count > 0) {
    text += fmt::format(
        "batch-invariant / normal: geometric mean {:.3f}, worst {:.2f}, {} rows (in the means "
        "above "
        "too)\n",
        std::exp(costs.log_sum / costs.count), costs.most, costs.count);
  }
  return text + fmt::format("{} of {} rows within the target\n", within, rows.size());
}

std::vector<DecodeShape> shapes_of(const Options& options) {
  if (options.set == "served") return stored_decode_shapes();
  if (options.set == "irregular") return irregular_decode_shapes();
  if (options.set == "verify") return verify_decode_shapes();
  if (options.set == "rows") return query_row_shapes();
  if (options.set == "heads") return head_size_shapes();
  return {{fmt::format("{}/{}/{}", options.heads, options.kv_heads, options.head_dim), "lens", "",
           options.heads, options.kv_heads, options.head_dim, options.page, options.lens, 0,
           options.query_tokens}};
}

}  // namespace

Result<std::string> run_cuda_attention_bench(const CudaAttentionBenchOptions& options) {
  Bench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.open(options));
  std::vector<DecodeShape> shapes = shapes_of(options);
  if (options.kv_type == KvType::kF8E4M3) {  // stored figures are of 16 bits
    for (DecodeShape& shape : shapes) shape.peer_us = 0, shape.peer.clear();
  }
  const int modes = options.batch_invariant ? 2 : 1;
  for (const DecodeShape& shape : shapes) {
    for (const std::string& variant : options.variants) {
      for (int mode = 0; mode < modes; ++mode)
        ONEBEAT_RETURN_IF_ERROR(bench.plan(shape, variant, mode == 1).status());
    }
  }
  ONEBEAT_RETURN_IF_ERROR(bench.set_up());
  std::vector<Row> rows;
  for (const DecodeShape& shape : shapes) {
    for (const std::string& variant : options.variants) {
      for (int mode = 0; mode < modes; ++mode) {
        Row row;
        if (mode == 1) row.normal_us = rows.back().measured.us;
        ONEBEAT_ASSIGN_OR_RETURN(row.measured, bench.measure(shape, variant, mode == 1));
        row.ideal_us = shape.bytes(options.kv_type) / bench.limits().read_gb_per_s * 1e-3;
        row.target_us = 3 + row.ideal_us / 0.95;
        row.shape = shape;
        rows.push_back(std::move(row));
      }
    }
  }
  return options.format == "json" ? to_json(bench, options, rows) : to_text(bench, rows);
}

}  // namespace onebeat::cli
