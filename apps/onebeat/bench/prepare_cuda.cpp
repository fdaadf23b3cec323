// SPDX-License-Identifier: Apache-2.0
// prepare_step on a CUDA device, two questions: what does it add to a step of the engine (two
// classes, direct pages), and how fast does it fill page tables, beside a copy of the same bytes in
// the same run and a stored figure of another implementation. Times are medians of replayed graphs.
#include "bench/prepare_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "base/json_text.h"
#include "bench/prepare_peers.h"
#include "bench/report.h"
#include "bench/step_filler.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"

namespace onebeat::cli {
namespace {

constexpr int kReplays = 21;
constexpr std::int32_t kPoolSlots = 1 << 20;

struct StepRow {
  std::int32_t requests = 0;
  double prepare_us = 0;          // one after another in a graph
  double prepare_chained_us = 0;  // the same with programmatic dependent launch
  double step_us = 0;             // a step without it, chained
  double step_with_us = 0;
  double plain_step_us = 0;  // the same two without programmatic dependent launch
  double plain_step_with_us = 0;
};

struct TableRow {
  PreparePeer shape{};
  bool live = false;
  double us = 0;
  double chained_us = 0;  // with programmatic dependent launch
  double mb = 0;          // written
  double copy_us = 0;     // a copy of as many bytes in a graph
};

/// Microseconds per call of `enqueue`, `calls` of them in one graph.
template <typename Enqueue>
Result<double> time_in_graph(cudaStream_t stream, int calls, Enqueue&& enqueue) {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaGraph graph,
                           CudaGraph::capture(stream, [&](cudaStream_t s) -> Status {
                             for (int i = 0; i < calls; ++i) ONEBEAT_RETURN_IF_ERROR(enqueue(s));
                             return {};
                           }));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent begin, CudaEvent::create());
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent end, CudaEvent::create());
  std::vector<float> times;
  for (int i = 0; i < kReplays; ++i) {
    ONEBEAT_RETURN_IF_ERROR(begin.record(stream));
    ONEBEAT_RETURN_IF_ERROR(graph.launch(stream));
    ONEBEAT_RETURN_IF_ERROR(end.record(stream));
    ONEBEAT_ASSIGN_OR_RETURN(const float us, end.microseconds_since(begin));
    times.push_back(us);
  }
  std::sort(times.begin(), times.end());
  return static_cast<double>(times[times.size() / 2]) / calls;
}

template <typename T>
Result<DeviceBuffer<T>> random_numbers(std::size_t size, T low, T high, cudaStream_t stream) {
  std::vector<T> values(size);
  std::uint64_t state = 0x9e3779b97f4a7c15u;
  const auto range = static_cast<std::uint64_t>(high - low) + 1;
  for (T& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = low + static_cast<T>((state >> 33) % range);
  }
  return DeviceBuffer<T>::copy_of(values, stream);
}

class PrepareBench {
 public:
  static Result<PrepareBench> create(int device) {
    PrepareBench bench;
    ONEBEAT_ASSIGN_OR_RETURN(bench.facts_, use_cuda_device(device));
    ONEBEAT_ASSIGN_OR_RETURN(bench.stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(bench.limits_, measure_cuda_limits(bench.stream()));
    return bench;
  }

  Status measure() {
    for (const std::int32_t requests : {1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384}) {
      ONEBEAT_RETURN_IF_ERROR(measure_step(requests));
    }
    return measure_tables();
  }

  [[nodiscard]] std::string to_text() const;
  [[nodiscard]] std::string to_json() const;

 private:
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }
  Status measure_step(std::int32_t requests);
  Status measure_tables();
  Result<TableRow> measure_table(const PreparePeer& shape, bool live, const void* map,
                                 const void* window_of, std::int32_t* tables);

  CudaDeviceFacts facts_;
  CudaStream stream_;
  CudaLimits limits_;
  std::vector<StepRow> steps_;
  std::vector<TableRow> tables_;
};

/// A step of the engine: lengths, positions, slots and two plans; pages stay in the pool's map.
Status PrepareBench::measure_step(std::int32_t requests) {
  constexpr std::int32_t kPageTokens = 16, kColumns = 1024, kLayers = 32, kSteps = 8;
  std::vector<StepClass> classes(2);
  for (StepClass& of_class : classes) {
    AttentionGeometry& g = of_class.geometry;
    g.num_heads = 32;
    g.num_kv_heads = 8;
    g.head_dim = g.head_dim_v = 128;
    g.page_tokens = kPageTokens;
    g.workers = 2 * facts_.multiprocessors;
  }
  classes[1].geometry.window_left = 1023;
  ONEBEAT_ASSIGN_OR_RETURN(
      const StepPlanner planner,
      StepPlanner::create(classes, kPageTokens, {requests, kPageTokens * kColumns, 1}));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStepPreparer preparer, CudaStepPreparer::create(planner));

  const auto count = static_cast<std::size_t>(requests);
  ONEBEAT_ASSIGN_OR_RETURN(
      const auto lens, random_numbers<std::int32_t>(count, 1, kPageTokens * kColumns, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto rows,
                           random_numbers<std::int32_t>(count, 0, requests - 1, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto pages,
                           random_numbers<std::int32_t>(count * kColumns, 0, 1 << 20, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto active,
                           DeviceBuffer<std::int32_t>::copy_of(std::span(&requests, 1), stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto out, DeviceBuffer<std::int32_t>::allocate(5 * (count + 1)));
  ONEBEAT_ASSIGN_OR_RETURN(const auto status, PinnedBuffer<std::uint32_t>::allocate(1));
  ONEBEAT_ASSIGN_OR_RETURN(const auto words,
                           random_numbers<std::uint32_t>(65536, 0, 100, stream()));

  StepArguments step;
  step.num_requests = requests;
  step.num_active = active.data();
  step.lens = {lens.data(), requests, 1, IndexType::kI32};
  step.rows_of = {rows.data(), requests, 1, IndexType::kI32};
  step.page_map = PageMapKind::kPages;
  step.pages = {pages.data(), requests, kColumns, kColumns};
  const auto part = [&](std::size_t i) {
    return IntArray{out.data() + i * (count + 1), requests + 1, 1};
  };
  step.out_lens = part(0);
  step.cu_seqlens_q = part(1);
  step.cu_seqlens_k = part(2);
  step.positions = part(3);
  step.slots = part(4);
  std::vector<DeviceBuffer<std::byte>> plans;
  std::vector<DeviceBuffer<std::uint32_t>> counters;
  for (std::int32_t c = 0; c < 2; ++c) {
    ONEBEAT_ASSIGN_OR_RETURN(auto plan, DeviceBuffer<std::byte>::allocate(planner.plan_bytes(c)));
    ONEBEAT_ASSIGN_OR_RETURN(auto words_of_class,
                             DeviceBuffer<std::uint32_t>::allocate(static_cast<std::size_t>(
                                 planner.planner(c).scratch_size().counters)));
    step.plans[static_cast<std::size_t>(c)] = plan.data();
    step.counters[static_cast<std::size_t>(c)] = words_of_class.data();
    plans.push_back(std::move(plan));
    counters.push_back(std::move(words_of_class));
  }

  const auto prepare = [&](bool chained) {
    return [&, chained](cudaStream_t s) {
      return preparer.prepare(step, {status.data(), chained}, s);
    };
  };
  const auto layers = [&](bool chained, bool with_prepare) {
    return [&, chained, with_prepare](cudaStream_t s) -> Status {
      if (with_prepare) ONEBEAT_RETURN_IF_ERROR(prepare(chained)(s));
      for (int i = 0; i < kLayers; ++i) {
        ONEBEAT_RETURN_IF_ERROR(cuda_status(
            launch_step_filler(words.data(), facts_.multiprocessors, chained, s), "step_filler"));
      }
      return {};
    };
  };
  StepRow row;
  row.requests = requests;
  ONEBEAT_ASSIGN_OR_RETURN(row.prepare_us, time_in_graph(stream(), 100, prepare(false)));
  ONEBEAT_ASSIGN_OR_RETURN(row.prepare_chained_us, time_in_graph(stream(), 100, prepare(true)));
  ONEBEAT_ASSIGN_OR_RETURN(row.step_us, time_in_graph(stream(), kSteps, layers(true, false)));
  ONEBEAT_ASSIGN_OR_RETURN(row.step_with_us, time_in_graph(stream(), kSteps, layers(true, true)));
  ONEBEAT_ASSIGN_OR_RETURN(row.plain_step_us,
                           time_in_graph(stream(), kSteps, layers(false, false)));
  ONEBEAT_ASSIGN_OR_RETURN(row.plain_step_with_us,
                           time_in_graph(stream(), kSteps, layers(false, true)));
  steps_.push_back(row);
  return {};
}

Status PrepareBench::measure_tables() {
  std::size_t map_entries = 0;
  std::size_t table_entries = 0;
  for (const PreparePeer& shape : kPreparePeers) {
    const auto tokens =
        static_cast<std::size_t>(shape.requests) * static_cast<std::size_t>(shape.context);
    map_entries = std::max(map_entries, tokens);
    table_entries = std::max(table_entries, tokens / static_cast<std::size_t>(shape.page));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const auto map,
                           random_numbers<std::int32_t>(map_entries, 0, kPoolSlots - 1, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto window_of,
                           random_numbers<std::int64_t>(kPoolSlots, 0, kPoolSlots - 1, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto tables,
                           DeviceBuffer<std::int32_t>::allocate(2 * table_entries));
  for (const PreparePeer& shape : kPreparePeers) {
    for (const bool live : {false, true}) {
      ONEBEAT_ASSIGN_OR_RETURN(const TableRow row, measure_table(shape, live, map.data(),
                                                                 window_of.data(), tables.data()));
      tables_.push_back(row);
    }
  }
  return {};
}

Result<TableRow> PrepareBench::measure_table(const PreparePeer& shape, bool live, const void* map,
                                             const void* window_of, std::int32_t* tables) {
  ONEBEAT_ASSIGN_OR_RETURN(const StepPlanner planner,
                           StepPlanner::create({}, shape.page, {shape.requests, shape.context, 1}));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStepPreparer preparer, CudaStepPreparer::create(planner));
  const auto count = static_cast<std::size_t>(shape.requests);
  std::vector<std::int64_t> lens(count), rows(count);
  std::mt19937_64 random(1);
  std::int64_t live_pages = 0;
  for (std::size_t b = 0; b < count; ++b) {
    lens[b] = std::uniform_int_distribution<std::int64_t>(1, shape.context)(random);
    rows[b] = static_cast<std::int64_t>(b);
    live_pages += (lens[b] + shape.page - 1) / shape.page;
  }
  lens[0] = shape.context;
  ONEBEAT_ASSIGN_OR_RETURN(const auto lens_in, DeviceBuffer<std::int64_t>::copy_of(lens, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto rows_in, DeviceBuffer<std::int64_t>::copy_of(rows, stream()));
  ONEBEAT_ASSIGN_OR_RETURN(const auto out, DeviceBuffer<std::int32_t>::allocate(2 * (count + 1)));
  const std::int64_t pages = shape.context / shape.page;

  StepArguments step;
  step.num_requests = shape.requests;
  step.lens = {lens_in.data(), shape.requests, 1, IndexType::kI64};
  step.rows_of = {rows_in.data(), shape.requests, 1, IndexType::kI64};
  step.page_map = PageMapKind::kSlots;
  step.pages = {map, shape.requests, shape.context, shape.context};
  step.out_lens = {out.data(), shape.requests, 1};
  step.cu_seqlens_k = {out.data() + count, shape.requests + 1, 1};
  step.tables = live ? TableContract::kLive : TableContract::kDense;
  step.dense_pages = pages;
  step.page_table = {tables, shape.requests, pages, pages};
  if (shape.window) {
    step.window_slot_of = {window_of, kPoolSlots, 1, IndexType::kI64};
    step.window_table = {tables + shape.requests * pages, shape.requests, pages, pages};
  }
  TableRow row;
  row.shape = shape;
  row.live = live;
  const std::int64_t entries =
      (live ? live_pages : shape.requests * pages) * (shape.window ? 2 : 1);
  row.mb = static_cast<double>(entries) * 4e-6;
  const int calls = row.mb > 50 ? 5 : row.mb > 5 ? 20 : 100;
  for (const bool chained : {false, true}) {
    ONEBEAT_ASSIGN_OR_RETURN((chained ? row.chained_us : row.us),
                             time_in_graph(stream(), calls, [&](cudaStream_t s) {
                               return preparer.prepare(step, {nullptr, chained}, s);
                             }));
  }
  ONEBEAT_ASSIGN_OR_RETURN(row.copy_us, time_in_graph(stream(), calls, [&](cudaStream_t s) {
                             return cuda_status(cudaMemcpyAsync(tables, map,
                                                                static_cast<std::size_t>(entries) /
                                                                    (shape.window ? 2 : 1) * 4,
                                                                cudaMemcpyDeviceToDevice, s),
                                                "cudaMemcpyAsync");
                           }));
  return row;
}

std::string PrepareBench::to_text() const {
  std::string text = fmt::format(
      "{}, copy {:.0f} GB/s (read + written), empty node {:.2f} us, dependent {:.2f} us\n\n"
      "prepare_step, two classes, direct pages, {} workers (us); step: 32 small kernels\n"
      "{:>8} {:>9} {:>9} | {:>9} {:>9} {:>7} | {:>9} {:>9} {:>7}\n",
      facts_.name, limits_.copy_gb_per_s, limits_.graph_node_us, limits_.dependent_node_us,
      2 * facts_.multiprocessors, "requests", "alone", "chained", "step", "with", "added", "plain",
      "with", "added");
  for (const StepRow& row : steps_) {
    text += fmt::format(
        "{:>8} {:>9.2f} {:>9.2f} | {:>9.2f} {:>9.2f} {:>7.2f} | {:>9.2f} {:>9.2f} {:>7.2f}\n",
        row.requests, row.prepare_us, row.prepare_chained_us, row.step_us, row.step_with_us,
        row.step_with_us - row.step_us, row.plain_step_us, row.plain_step_with_us,
        row.plain_step_with_us - row.plain_step_us);
  }
  text += fmt::format(
      "\npage tables (us in a graph, ordinary and chained launches); copy: cudaMemcpyAsync of one "
      "table; peer: SGLang's fused kernel, dense, ordinary, stored\n"
      "{:>8} {:>7} {:>5} {:>6} | {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} | {:>9} {:>9} {:>9}\n",
      "requests", "context", "page", "window", "MB", "dense", "chained", "copy", "peer", "peer/us",
      "/chained", "live_MB", "live", "chained");
  for (std::size_t i = 0; i + 1 < tables_.size(); i += 2) {
    const TableRow& dense = tables_[i];
    const TableRow& live = tables_[i + 1];
    text += fmt::format(
        "{:>8} {:>7} {:>5} {:>6} | {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} "
        "| "
        "{:>9.2f} {:>9.2f} {:>9.2f}\n",
        dense.shape.requests, dense.shape.context, dense.shape.page, dense.shape.window ? 1 : 0,
        dense.mb, dense.us, dense.chained_us, dense.copy_us, dense.shape.us,
        dense.shape.us / dense.us, dense.shape.us / dense.chained_us, live.mb, live.us,
        live.chained_us);
  }
  return text;
}

std::string PrepareBench::to_json() const {
  std::string json = fmt::format(
      "{{\"bench\":\"prepare\",\"device\":{},\"multiprocessors\":{},\"driver\":{},\"date\":\"{}\","
      "\"version\":\"{}\",\"copy_gb_per_s\":{:.1f},\"graph_node_us\":{:.3f},"
      "\"peer\":\"SGLang fused decode metadata (Triton), dense, stored figures of an H200\","
      "\"step\":[",
      json_quoted(facts_.name), facts_.multiprocessors, facts_.driver_version, today(),
      ONEBEAT_VERSION, limits_.copy_gb_per_s, limits_.graph_node_us);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const StepRow& row = steps_[i];
    json += fmt::format(
        "{}{{\"requests\":{},\"classes\":2,\"prepare_us\":{:.3f},\"prepare_chained_us\":{:.3f},"
        "\"step_us\":{:.3f},\"step_with_us\":{:.3f},\"added_us\":{:.3f},\"plain_added_us\":{:.3f}}"
        "}",
        i == 0 ? "" : ",", row.requests, row.prepare_us, row.prepare_chained_us, row.step_us,
        row.step_with_us, row.step_with_us - row.step_us,
        row.plain_step_with_us - row.plain_step_us);
  }
  json += "],\"tables\":[";
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    const TableRow& row = tables_[i];
    json += fmt::format(
        "{}{{\"requests\":{},\"context\":{},\"page\":{},\"window\":{},\"contract\":\"{}\","
        "\"mb\":{:.3f},\"us\":{:.3f},\"chained_us\":{:.3f},\"copy_us\":{:.3f},\"peer_us\":{}}}",
        i == 0 ? "" : ",", row.shape.requests, row.shape.context, row.shape.page, row.shape.window,
        row.live ? "live" : "dense", row.mb, row.us, row.chained_us, row.copy_us,
        row.live ? "null" : fmt::format("{:.3f}", row.shape.us));
  }
  return json + "]}\n";
}

}  // namespace

Status run_prepare_on_cuda(int device, bool json) {
  ONEBEAT_ASSIGN_OR_RETURN(PrepareBench bench, PrepareBench::create(device));
  ONEBEAT_RETURN_IF_ERROR(bench.measure());
  const std::string report = json ? bench.to_json() : bench.to_text();
  std::fwrite(report.data(), 1, report.size(), stdout);
  return {};
}

}  // namespace onebeat::cli
