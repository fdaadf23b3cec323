// SPDX-License-Identifier: Apache-2.0
#include "bench/step_attention_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/decode_workload.h"
#include "bench/report.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/step_cuda.h"

namespace onebeat::cli {
namespace {

using Options = StepAttentionOptions;

/// Where the plan of a step is made.
enum Form : std::size_t { kInGraph, kOutside, kPerLayer, kNever, kForms };

struct Row {
  DecodeShape shape;
  std::array<double, kForms> us{};    ///< Of a whole step.
  std::array<int, kForms> kernels{};  ///< Launches of a step, as its graph counts them.
  double spread = 0;                  ///< (slowest - fastest) / median of kInGraph.
};

/// Memory and objects of one shape's step.
struct Step {
  std::unique_ptr<StepPlanner> planner;
  std::unique_ptr<CudaStepPreparer> preparer;
  std::unique_ptr<CudaDecodeAttention> attention;
  DeviceBuffer<std::int32_t> lens, sums;
  DeviceBuffer<std::byte> plan;
  DeviceBuffer<float> outputs, stats;
  DeviceBuffer<std::uint32_t> counters;
  StepArguments arguments;
};

class Bench {
 public:
  Status set_up(const Options& options) {
    options_ = options;
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(options.device));
    ONEBEAT_ASSIGN_OR_RETURN(stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(begin_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(end_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(limits_, measure_cuda_limits(stream_.get()));
    ONEBEAT_RETURN_IF_ERROR(
        memory_.allocate(KvType::kBF16, facts_.memory_free_bytes, stream_.get()));
    ONEBEAT_ASSIGN_OR_RETURN(faults_, PinnedBuffer<std::uint32_t>::allocate(1));
    *faults_.data() = 0;
    return stream_.synchronize();
  }
  [[nodiscard]] const CudaDeviceFacts& facts() const { return facts_; }
  [[nodiscard]] const CudaLimits& limits() const { return limits_; }

  Result<Row> measure(const DecodeShape& shape) {
    Row row;
    row.shape = shape;
    ONEBEAT_RETURN_IF_ERROR(memory_.lay_out(shape, stream_.get()));
    Step step;
    ONEBEAT_RETURN_IF_ERROR(make_step(shape, step));
    // Every graph is one step. As many of them, each with layers of its own, as the L2 cannot hold.
    const double step_bytes = shape.bytes() * options_.layers;
    const int steps = std::clamp(static_cast<int>(320e6 / step_bytes) + 1, 1, 20);
    std::array<std::vector<CudaGraph>, kForms> graphs;
    for (int i = 0; i < steps; ++i) {
      for (std::size_t form = 0; form < kForms; ++form) {
        if (form == kOutside) continue;  // the layers alone, and a launch before
        ONEBEAT_ASSIGN_OR_RETURN(CudaGraph graph, capture(shape, step, static_cast<Form>(form), i));
        row.kernels[form] = graph.kernel_nodes();
        graphs[form].push_back(std::move(graph));
      }
    }
    row.kernels[kOutside] = row.kernels[kNever] + 1;
    const double ideal = step_bytes / limits_.read_gb_per_s * 1e-3 + 3.0 * options_.layers;
    const int turns = std::max(1, static_cast<int>(1000 / (ideal * steps)));
    std::array<std::vector<double>, kForms> times;
    const int passes = ideal > 10000 ? 4 : 7;  // the first warms up
    for (int pass = 0; pass < passes; ++pass) {
      for (std::size_t form = 0; form < kForms; ++form) {
        const std::vector<CudaGraph>& layers = graphs[form == kOutside ? kNever : form];
        ONEBEAT_RETURN_IF_ERROR(begin_.record(stream_.get()));
        for (int i = 0; i < turns * steps; ++i) {
          if (form == kOutside) ONEBEAT_RETURN_IF_ERROR(prepare(step, false));
          ONEBEAT_RETURN_IF_ERROR(
              layers[static_cast<std::size_t>(i % steps)].launch(stream_.get()));
        }
        ONEBEAT_RETURN_IF_ERROR(end_.record(stream_.get()));
        ONEBEAT_ASSIGN_OR_RETURN(const float us, end_.microseconds_since(begin_));
        if (pass > 0) times[form].push_back(static_cast<double>(us) / (turns * steps));
      }
    }
    for (std::size_t form = 0; form < kForms; ++form) {
      std::sort(times[form].begin(), times[form].end());
      row.us[form] = times[form][times[form].size() / 2];
    }
    row.spread = (times[kInGraph].back() - times[kInGraph].front()) / row.us[kInGraph];
    if (*faults_.data() != 0) return internal_error("a launch reported {:#x}", *faults_.data());
    return row;
  }

 private:
  Status prepare(const Step& step, bool chained) {
    return step.preparer->prepare(step.arguments, {faults_.data(), chained}, stream_.get());
  }

  Result<CudaGraph> capture(const DecodeShape& shape, const Step& step, Form form, int number) {
    return CudaGraph::capture(stream_.get(), [&](cudaStream_t) -> Status {
      bool first = true;
      for (std::int32_t i = 0; i < options_.layers; ++i) {
        const bool planned_here = form == kPerLayer || (form == kInGraph && i == 0);
        if (planned_here) {
          ONEBEAT_RETURN_IF_ERROR(prepare(step, !first));
          first = false;
        }
        // The layer that follows the planner waits for it; later ones read the plan early.
        const CudaOverlap overlap = first          ? CudaOverlap::kNone
                                    : planned_here ? CudaOverlap::kLaunch
                                                   : CudaOverlap::kEarlyLoads;
        ONEBEAT_RETURN_IF_ERROR(attend(shape, step, number * options_.layers + i, overlap));
        first = false;
      }
      return {};
    });
  }

  Status attend(const DecodeShape& shape, const Step& step, std::int32_t layer_number,
                CudaOverlap overlap) {
    const AttentionGeometry& g = step.attention->geometry();
    const auto layer = static_cast<std::size_t>(layer_number);
    const auto requests = static_cast<std::int32_t>(shape.lens.size());
    CudaAttentionLaunch launch;
    launch.q = dense_head_rows<const std::uint16_t>(memory_.rows(layer), requests, g.num_heads,
                                                    g.head_dim);
    launch.out = dense_head_rows(memory_.rows(layer + 1), requests, g.num_heads, g.head_dim);
    launch.score.scale = 1.0f / std::sqrt(static_cast<float>(g.head_dim));
    launch.kv = memory_.kv(g, options_.layout == "runs" ? KvLayout::kRuns : KvLayout::kNhd, layer);
    launch.pages = memory_.pages();
    launch.overlap = overlap;
    launch.faults = faults_.data();
    return step.attention->launch({step.plan.data(), plan_stamp(g), g.workers, requests}, launch,
                                  {{step.outputs.data(), step.outputs.size()},
                                   {step.stats.data(), step.stats.size()},
                                   {step.counters.data(), step.counters.size()}},
                                  stream_.get());
  }

  Status make_step(const DecodeShape& shape, Step& step) {
    ONEBEAT_ASSIGN_OR_RETURN(
        const CudaAttentionTuning tuning,
        cuda_attention_tuning(shape.head_dim, KvType::kBF16, facts_.multiprocessors));
    StepClass of_class;
    AttentionGeometry& g = of_class.geometry;
    g.num_heads = shape.heads;
    g.num_kv_heads = shape.kv_heads;
    g.head_dim = g.head_dim_v = shape.head_dim;
    g.page_tokens = shape.page;
    g.tile_tokens = tuning.tile_tokens;
    g.workers = tuning.workers;
    of_class.cost = tuning.cost;
    const auto requests = static_cast<std::int32_t>(shape.lens.size());
    ONEBEAT_ASSIGN_OR_RETURN(StepPlanner planner,
                             StepPlanner::create(std::span(&of_class, 1), shape.page,
                                                 {requests, std::int64_t{1} << 18, 1}));
    step.planner = std::make_unique<StepPlanner>(std::move(planner));
    ONEBEAT_ASSIGN_OR_RETURN(const CudaStepPreparer preparer,
                             CudaStepPreparer::create(*step.planner));
    step.preparer = std::make_unique<CudaStepPreparer>(preparer);
    ONEBEAT_ASSIGN_OR_RETURN(const CudaDecodeAttention attention, CudaDecodeAttention::create(g));
    step.attention = std::make_unique<CudaDecodeAttention>(attention);

    const auto count = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    const ScratchSize size = step.planner->planner(0).scratch_size();
    ONEBEAT_ASSIGN_OR_RETURN(step.lens,
                             DeviceBuffer<std::int32_t>::copy_of(shape.lens, stream_.get()));
    ONEBEAT_ASSIGN_OR_RETURN(step.sums,
                             DeviceBuffer<std::int32_t>::allocate(5 * count(requests + 1)));
    ONEBEAT_ASSIGN_OR_RETURN(step.plan,
                             DeviceBuffer<std::byte>::allocate(step.planner->plan_bytes(0)));
    ONEBEAT_ASSIGN_OR_RETURN(step.outputs,
                             DeviceBuffer<float>::allocate(count(size.output_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(step.stats, DeviceBuffer<float>::allocate(count(size.stats_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(step.counters,
                             DeviceBuffer<std::uint32_t>::allocate(count(size.counters)));

    // Everything that a step of an engine needs: direct pages, no table is made.
    StepArguments& a = step.arguments;
    const PageMap& pages = memory_.pages();
    a.num_requests = requests;
    a.lens = {step.lens.data(), requests, 1, IndexType::kI32};
    a.rows_of = {pages.row_of, requests, 1, IndexType::kI32};
    a.page_map = PageMapKind::kPages;
    a.pages = {pages.pages, pages.num_rows, pages.num_columns, pages.row_stride};
    a.pool_pages = shape.pages();
    IntArray* const outputs[] = {&a.out_lens, &a.cu_seqlens_q, &a.cu_seqlens_k, &a.positions,
                                 &a.slots};
    for (std::int64_t i = 0; i < 5; ++i) {
      *outputs[i] = {step.sums.data() + i * (requests + 1), requests + 1, 1};
    }
    a.plans[0] = step.plan.data();
    a.counters[0] = step.counters.data();
    return prepare(step, false);
  }

  Options options_;
  CudaDeviceFacts facts_;
  CudaLimits limits_;
  CudaStream stream_;
  CudaEvent begin_, end_;
  DecodeMemory memory_;
  PinnedBuffer<std::uint32_t> faults_;
};

struct GeometricMean {
  double log_sum = 0;
  double worst = 1e9;
  int count = 0;
  void add(double ratio) {
    log_sum += std::log(ratio);
    worst = std::min(worst, ratio);
    ++count;
  }
  [[nodiscard]] double value() const { return std::exp(log_sum / count); }
};

std::string to_json(const Bench& bench, const Options& options, const std::vector<Row>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"step-attention\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":\"{}"
      "\",\"read_limit_gb_per_s\":{:.0f},\"set\":{},\"layout\":{},\"layers\":{},"
      "\"peer\":\"stored figures of one layer, times the layers\",\"rows\":[",
      json_quoted(bench.facts().name), bench.facts().driver_version, today(), ONEBEAT_VERSION,
      bench.limits().read_gb_per_s, json_quoted(options.set), json_quoted(options.layout),
      options.layers);
  for (const Row& row : rows) {
    const DecodeShape& s = row.shape;
    json += fmt::format(
        "{}\n{{\"group\":{},\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"batch\":{},\"page\":{},"
        "\"step_us\":{:.2f},\"spread\":{:.4f},\"outside_us\":{:.2f},\"per_layer_us\":{:.2f},"
        "\"layers_alone_us\":{:.2f},\"kernels\":{},\"kernels_outside\":{},\"kernels_per_layer\":{},"
        "\"ideal_us\":{:.2f},\"stored_peer_us\":{:.2f},\"peer\":{}}}",
        &row == rows.data() ? "" : ",", json_quoted(s.group), s.heads, s.kv_heads, s.head_dim,
        json_quoted(s.batch), s.page, row.us[kInGraph], row.spread, row.us[kOutside],
        row.us[kPerLayer], row.us[kNever], row.kernels[kInGraph], row.kernels[kOutside],
        row.kernels[kPerLayer], s.bytes() * options.layers / bench.limits().read_gb_per_s * 1e-3,
        s.peer_us * options.layers, json_quoted(s.peer));
  }
  return json + "\n]}\n";
}

std::string to_text(const Bench& bench, const Options& options, const std::vector<Row>& rows) {
  const auto& kernels = rows.front().kernels;
  std::string text = fmt::format(
      "{}, reading memory at {:.0f} GB/s; attention of a step of {} layers, us\n"
      "planned in the graph: {} launches; before it: {}; for each layer: {}; layers alone: {}\n"
      "peer: {} times a stored figure of one layer (FA3's have its metadata once in 32 layers)\n\n"
      "{:<12} {:<30} {:>4} {:>10} {:>10} {:>10} {:>10} {:>10} {:>5}\n",
      bench.facts().name, bench.limits().read_gb_per_s, options.layers, kernels[kInGraph],
      kernels[kOutside], kernels[kPerLayer], kernels[kNever], options.layers, "group", "batch",
      "page", "in graph", "before it", "per layer", "alone", "peer", "ratio");
  std::map<std::string, GeometricMean> peers;
  GeometricMean outside, per_layer, preparation;
  for (const Row& row : rows) {
    const DecodeShape& s = row.shape;
    const double peer = s.peer_us * options.layers;
    const double ratio = peer / row.us[kInGraph];
    text += fmt::format(
        "{:<12} {:<30} {:>4} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f} {:>5.2f}\n", s.group,
        s.batch, s.page, row.us[kInGraph], row.us[kOutside], row.us[kPerLayer], row.us[kNever],
        peer, ratio);
    outside.add(row.us[kOutside] / row.us[kInGraph]);
    per_layer.add(row.us[kPerLayer] / row.us[kInGraph]);
    preparation.add(row.us[kInGraph] / row.us[kNever]);
    if (peer == 0) continue;
    peers["all"].add(ratio);
    peers[fmt::format("{} page {}", s.group, s.page)].add(ratio);
    peers[s.peer.rfind("FA3", 0) == 0 ? "shapes where FA3 is the best peer"
                                      : "shapes where FA3 is not the best peer"]
        .add(ratio);
  }
  for (const auto& [group, mean] : peers) {
    text +=
        fmt::format("{}: stored best peer takes {:.3f} times as long, at worst {:.2f}, {} rows\n",
                    group, mean.value(), mean.worst, mean.count);
  }
  text += fmt::format(
      "planned before the graph: {:.3f} times as long; for each layer: {:.3f}; the layers with "
      "their plan: {:.3f} times the layers alone\n",
      outside.value(), per_layer.value(), preparation.value());
  return text;
}

std::vector<DecodeShape> shapes_of(const Options& options) {
  if (options.set == "served") return stored_decode_shapes();
  if (options.set == "irregular") return irregular_decode_shapes();
  return {{fmt::format("{}/{}/{}", options.heads, options.kv_heads, options.head_dim), "lens", "",
           options.heads, options.kv_heads, options.head_dim, options.page, options.lens, 0}};
}

}  // namespace

Result<std::string> run_step_attention_bench(const StepAttentionOptions& options) {
  Bench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.set_up(options));
  std::vector<Row> rows;
  for (const DecodeShape& shape : shapes_of(options)) {
    ONEBEAT_ASSIGN_OR_RETURN(Row row, bench.measure(shape));
    rows.push_back(std::move(row));
  }
  return options.json ? to_json(bench, options, rows) : to_text(bench, options, rows);
}

}  // namespace onebeat::cli
