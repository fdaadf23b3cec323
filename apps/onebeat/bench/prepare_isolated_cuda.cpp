// SPDX-License-Identifier: Apache-2.0
// The case that upstream's fused metadata kernel was first measured in, alone: 32 requests, pages
// of one token, a table of 8,192 columns filled from a pool of 1,024 rows, 1,000 calls.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "base/json_text.h"
#include "bench/prepare_cuda.h"
#include "bench/prepare_peers.h"
#include "bench/report.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/step_cuda.h"

namespace onebeat::cli {
namespace {

constexpr std::int32_t kRequests = 32;
constexpr std::int32_t kContext = 8192;
constexpr std::int32_t kPoolRows = 1024;
constexpr int kCalls = 1000;
constexpr int kRepeats = 11;

struct Times {
  double graph_us = 0;
  double eager_call_us = 0;  ///< The host's part of a call.
  double eager_us = 0;       ///< A call, executed, of many in a row.
};

struct Isolated {
  CudaDeviceFacts facts;
  CudaLimits limits;
  Times dense, live;
  double copy_us = 0;  ///< cudaMemcpyAsync of the table's bytes in a graph.
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Inputs and outputs of the case.
struct Memory {
  DeviceBuffer<std::int64_t> lens;
  DeviceBuffer<std::int32_t> rows, map, sums, table;

  Status allocate(cudaStream_t stream) {
    std::mt19937 random(1);
    std::vector<std::int64_t> all_lens;
    for (std::int32_t b = 0; b < kRequests; ++b) {
      all_lens.push_back(kContext / 2 + static_cast<std::int64_t>(random() % (kContext / 2 + 1)));
    }
    all_lens[0] = kContext;
    std::vector<std::int32_t> all_rows(kPoolRows);
    std::iota(all_rows.begin(), all_rows.end(), 0);
    std::shuffle(all_rows.begin(), all_rows.end(), random);
    all_rows.resize(kRequests);
    std::vector<std::int32_t> slots(std::size_t{kPoolRows} * kContext);
    for (std::int32_t& slot : slots) slot = static_cast<std::int32_t>(random() >> 1);
    ONEBEAT_ASSIGN_OR_RETURN(lens, DeviceBuffer<std::int64_t>::copy_of(all_lens, stream));
    ONEBEAT_ASSIGN_OR_RETURN(rows, DeviceBuffer<std::int32_t>::copy_of(all_rows, stream));
    ONEBEAT_ASSIGN_OR_RETURN(map, DeviceBuffer<std::int32_t>::copy_of(slots, stream));
    ONEBEAT_ASSIGN_OR_RETURN(sums, DeviceBuffer<std::int32_t>::allocate(2 * (kRequests + 1)));
    ONEBEAT_ASSIGN_OR_RETURN(
        table, DeviceBuffer<std::int32_t>::allocate(std::size_t{kRequests} * kContext));
    return {};
  }

  [[nodiscard]] StepArguments arguments(TableContract contract) const {
    StepArguments step;
    step.num_requests = kRequests;
    step.lens = {lens.data(), kRequests, 1, IndexType::kI64};
    step.rows_of = {rows.data(), kRequests, 1, IndexType::kI32};
    step.page_map = PageMapKind::kSlots;
    step.pages = {map.data(), kPoolRows, kContext, kContext};
    step.out_lens = {sums.data(), kRequests, 1};
    step.cu_seqlens_k = {sums.data() + kRequests, kRequests + 1, 1};
    step.tables = contract;
    step.dense_pages = kContext;
    step.page_table = {table.data(), kRequests, kContext, kContext};
    return step;
  }
};

template <typename Enqueue>
Result<Times> time_calls(cudaStream_t stream, Enqueue&& enqueue) {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaGraph graph,
                           CudaGraph::capture(stream, [&](cudaStream_t s) -> Status {
                             for (int i = 0; i < kCalls; ++i) ONEBEAT_RETURN_IF_ERROR(enqueue(s));
                             return {};
                           }));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent begin, CudaEvent::create());
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent end, CudaEvent::create());
  std::vector<double> in_graph, host, eager;
  for (int i = 0; i < kRepeats; ++i) {
    ONEBEAT_RETURN_IF_ERROR(begin.record(stream));
    ONEBEAT_RETURN_IF_ERROR(graph.launch(stream));
    ONEBEAT_RETURN_IF_ERROR(end.record(stream));
    ONEBEAT_ASSIGN_OR_RETURN(const float us, end.microseconds_since(begin));
    in_graph.push_back(static_cast<double>(us) / kCalls);

    using Clock = std::chrono::steady_clock;
    const auto micros = [](Clock::duration d) {
      return std::chrono::duration<double, std::micro>(d).count();
    };
    const auto start = Clock::now();
    for (int call = 0; call < kCalls; ++call) ONEBEAT_RETURN_IF_ERROR(enqueue(stream));
    const auto returned = Clock::now();
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
    host.push_back(micros(returned - start) / kCalls);
    eager.push_back(micros(Clock::now() - start) / kCalls);
  }
  return Times{median(in_graph), median(host), median(eager)};
}

Result<Isolated> measure(int device) {
  Isolated result;
  ONEBEAT_ASSIGN_OR_RETURN(result.facts, use_cuda_device(device));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStream stream, CudaStream::create());
  ONEBEAT_ASSIGN_OR_RETURN(result.limits, measure_cuda_limits(stream.get()));
  Memory memory;
  ONEBEAT_RETURN_IF_ERROR(memory.allocate(stream.get()));
  ONEBEAT_ASSIGN_OR_RETURN(const StepPlanner planner,
                           StepPlanner::create({}, 1, {kRequests, kContext, 1}));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStepPreparer preparer, CudaStepPreparer::create(planner));
  for (const bool dense : {true, false}) {
    const StepArguments step =
        memory.arguments(dense ? TableContract::kDense : TableContract::kLive);
    ONEBEAT_ASSIGN_OR_RETURN(
        (dense ? result.dense : result.live),
        time_calls(stream.get(), [&](cudaStream_t s) { return preparer.prepare(step, {}, s); }));
  }
  ONEBEAT_ASSIGN_OR_RETURN(
      const Times copy, time_calls(stream.get(), [&](cudaStream_t s) {
        return cuda_status(cudaMemcpyAsync(memory.table.data(), memory.map.data(),
                                           memory.table.size_bytes(), cudaMemcpyDeviceToDevice, s),
                           "cudaMemcpyAsync");
      }));
  result.copy_us = copy.graph_us;
  return result;
}

std::string to_json(const Isolated& r) {
  std::string json = fmt::format(
      "{{\"bench\":\"prepare\",\"set\":\"isolated\",\"device\":{},\"driver\":{},\"date\":\"{}\","
      "\"version\":\"{}\",\"copy_gb_per_s\":{:.1f},\"graph_node_us\":{:.3f},\"requests\":{},"
      "\"context\":{},\"page\":1,\"pool_rows\":{},\"calls\":{},\"copy_us\":{:.3f},\"rows\":[",
      json_quoted(r.facts.name), r.facts.driver_version, today(), ONEBEAT_VERSION,
      r.limits.copy_gb_per_s, r.limits.graph_node_us, kRequests, kContext, kPoolRows, kCalls,
      r.copy_us);
  for (const bool dense : {true, false}) {
    const Times& t = dense ? r.dense : r.live;
    json += fmt::format(
        "{{\"form\":\"onebeat, {}\",\"kernels\":1,\"graph_us\":{:.3f},\"eager_call_us\":{:.3f},"
        "\"eager_us\":{:.3f},\"stored\":false}},",
        dense ? "dense" : "live", t.graph_us, t.eager_call_us, t.eager_us);
  }
  for (const IsolatedPeer& peer : kIsolatedPeers) {
    json += fmt::format(
        "{{\"form\":\"{}\",\"kernels\":{},\"graph_us\":{:.3f},\"eager_call_us\":{:.3f},"
        "\"stored\":true}}{}",
        peer.form, peer.kernels, peer.graph_us, peer.eager_call_us,
        &peer == std::end(kIsolatedPeers) - 1 ? "" : ",");
  }
  return json + "]}\n";
}

std::string to_text(const Isolated& r) {
  std::string text = fmt::format(
      "{}; {} requests, pages of one token, context {}, {} calls; copying the table's bytes takes "
      "{:.2f} us\n{:<28} {:>8} {:>10} {:>14} {:>10}\n",
      r.facts.name, kRequests, kContext, kCalls, r.copy_us, "form", "kernels", "in a graph",
      "call returns", "eager");
  const auto line = [&text](const char* form, int kernels, double graph, double call,
                            double eager) {
    text += fmt::format("{:<28} {:>8} {:>10.2f} {:>14.2f} {:>10}\n", form, kernels, graph, call,
                        eager > 0 ? fmt::format("{:.2f}", eager) : "-");
  };
  line("onebeat, dense", 1, r.dense.graph_us, r.dense.eager_call_us, r.dense.eager_us);
  line("onebeat, live", 1, r.live.graph_us, r.live.eager_call_us, r.live.eager_us);
  for (const IsolatedPeer& peer : kIsolatedPeers) {
    line(fmt::format("{} (stored)", peer.form).c_str(), peer.kernels, peer.graph_us,
         peer.eager_call_us, 0);
  }
  for (const IsolatedPeer& peer : kIsolatedPeers) {
    text += fmt::format("{}: {:.2f} times ours in a graph\n", peer.form,
                        peer.graph_us / r.dense.graph_us);
  }
  return text;
}

}  // namespace

Status run_isolated_prepare_on_cuda(int device, bool json) {
  ONEBEAT_ASSIGN_OR_RETURN(const Isolated result, measure(device));
  const std::string report = json ? to_json(result) : to_text(result);
  std::fwrite(report.data(), 1, report.size(), stdout);
  return {};
}

}  // namespace onebeat::cli
