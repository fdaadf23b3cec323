// SPDX-License-Identifier: Apache-2.0
// Decode attention on a CUDA device, beside stored figures of other libraries and the time that the
// bytes alone take. Each shape is a CUDA graph of dependent launches (the output of one is the
// query of the next) over as many sets of K and V as the L2 cannot hold; the median of several
// replays, divided by the launches, is reported.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/json_text.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/plan.h"

namespace onebeat {
namespace {

struct Options {
  std::string shapes;
  std::string output;
  std::string layout = "nhd";
  std::string variant;
  std::int32_t workers = 0;
  std::int32_t min_tiles = 0;
  std::int32_t min_worker_cost = -1;
  std::int32_t overhead = 0;
  std::int32_t page = 0;
  bool irregular = false;
  bool no_overlap = false;
  bool quiet = false;
};

/// One line of the benchmark.
struct Shape {
  std::string group, batch, peer;
  std::int32_t heads = 0, kv_heads = 0, head_dim = 0, page = 0;
  std::vector<std::int32_t> lens;
  double peer_us = 0;  ///< 0: none stored.

  [[nodiscard]] std::int64_t tokens() const {
    return std::accumulate(lens.begin(), lens.end(), std::int64_t{0});
  }
  [[nodiscard]] double bytes() const {
    return static_cast<double>(tokens()) * kv_heads * head_dim * 4;
  }
};

struct Measurement {
  double us = 0, spread = 0;
  std::uint32_t workers_active = 0;
  std::int32_t split_units = 0;
};

/// "bs32" of 512: 32 x 512; "skew...": one long and 31 short; "geo...": 64 lengths from 128 to
/// 32,768, spaced so that they sum up to what the stored figures were measured on.
std::vector<std::int32_t> lengths_of(const std::string& batch, std::int32_t longest) {
  if (batch.rfind("bs", 0) == 0)
    return std::vector<std::int32_t>(static_cast<std::size_t>(std::stoi(batch.substr(2))), longest);
  std::vector<std::int32_t> lens;
  if (batch.rfind("skew", 0) == 0) {
    lens.assign(32, 512);
    lens[0] = longest;
  } else {
    for (int i = 0; i < 64; ++i) {
      const double place = std::pow(i / 63.0, 0.875929128035159);
      lens.push_back(static_cast<std::int32_t>(std::lround(128 * std::pow(256.0, place))));
    }
  }
  return lens;
}

std::vector<Shape> stored_shapes(const std::string& path) {
  std::vector<Shape> shapes;
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::stringstream stream(line);
    std::vector<std::string> f;
    for (std::string field; std::getline(stream, field, ',');) f.push_back(field);
    if (f.size() < 11) continue;
    shapes.push_back({f[0], f[4] + " x " + f[5], f[10], std::stoi(f[1]), std::stoi(f[2]),
                      std::stoi(f[3]), std::stoi(f[6]), lengths_of(f[4], std::stoi(f[5])),
                      std::stod(f[9])});
  }
  return shapes;
}

/// Shapes outside of the stored grid: other heads, pages and batches, lengths that are no round
/// numbers.
std::vector<Shape> irregular_shapes() {
  struct Heads {
    const char* name;
    std::int32_t heads, kv_heads, head_dim;
  };
  std::vector<Shape> shapes;
  std::mt19937 random(3);
  for (const Heads& h : {Heads{"28/4/128", 28, 4, 128},
                         {"40/8/128", 40, 8, 128},
                         {"12/2/64", 12, 2, 64},
                         {"24/6/64", 24, 6, 64}}) {
    for (const std::int32_t page : {16, 128}) {
      for (const std::int32_t requests : {3, 23, 96}) {
        for (const std::int32_t longest : {700, 9000}) {
          Shape shape{h.name,     fmt::format("{} up to {}", requests, longest),
                      "",         h.heads,
                      h.kv_heads, h.head_dim,
                      page,       {},
                      0};
          for (std::int32_t i = 0; i < requests; ++i)
            shape.lens.push_back(longest / 2 + static_cast<std::int32_t>(
                                                   random() % static_cast<unsigned>(longest / 2)));
          shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

/// What all shapes share: memory for K and V, queries, and a stream.
class Bench {
 public:
  Status set_up(const Options& options) {
    options_ = options;
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(0));
    ONEBEAT_ASSIGN_OR_RETURN(stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(begin_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(end_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(limits_, measure_cuda_limits(stream_.get()));
    constexpr std::size_t kPattern = std::size_t{64} << 20;
    const std::size_t pool_bytes =
        std::min<std::size_t>(std::size_t{20} << 30, facts_.memory_free_bytes / 4 * 3);
    ONEBEAT_ASSIGN_OR_RETURN(pool_,
                             DeviceBuffer<std::byte>::allocate(pool_bytes / kPattern * kPattern));
    std::vector<std::uint16_t> pattern(kPattern / 2);
    std::uint32_t state = 1;
    for (std::uint16_t& x : pattern) {  // bf16 of sizes 0.5 to 2 and both signs
      state = state * 1664525u + 1013904223u;
      x = static_cast<std::uint16_t>(0x3f00u + (state >> 31 << 15) + (state >> 8 & 0xffu));
    }
    for (std::size_t at = 0; at < pool_.size(); at += kPattern)
      ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(pool_.data() + at, pattern.data(), kPattern,
                                                   cudaMemcpyDefault, stream_.get()));
    constexpr std::size_t kRows = 128 * 64 * 128;
    for (auto& rows : rows_) {
      ONEBEAT_ASSIGN_OR_RETURN(rows, DeviceBuffer<std::uint16_t>::allocate(kRows));
      ONEBEAT_RETURN_IF_ERROR(
          rows.upload(std::span<const std::uint16_t>(pattern).first(kRows), stream_.get()));
    }
    ONEBEAT_ASSIGN_OR_RETURN(faults_, PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    return stream_.synchronize();
  }

  [[nodiscard]] const CudaDeviceFacts& facts() const { return facts_; }
  [[nodiscard]] const CudaLimits& limits() const { return limits_; }

  Result<Measurement> measure(const Shape& shape) {
    ONEBEAT_ASSIGN_OR_RETURN(CudaAttentionTuning tuning,
                             cuda_attention_tuning(shape.head_dim, facts_.multiprocessors));
    if (options_.workers > 0) tuning.workers = options_.workers;
    if (options_.min_tiles > 0)
      tuning.cost.min_tiles = static_cast<std::uint32_t>(options_.min_tiles);
    if (options_.min_worker_cost >= 0)
      tuning.cost.min_worker_cost = static_cast<std::uint32_t>(options_.min_worker_cost);
    if (options_.overhead > 0)
      tuning.cost.segment_overhead = static_cast<std::uint32_t>(options_.overhead);
    AttentionGeometry g;
    g.num_heads = shape.heads;
    g.num_kv_heads = shape.kv_heads;
    g.head_dim = g.head_dim_v = shape.head_dim;
    g.page_tokens = shape.page;
    g.tile_tokens = tuning.tile_tokens;
    g.workers = tuning.workers;
    const auto requests = static_cast<std::int32_t>(shape.lens.size());
    ONEBEAT_ASSIGN_OR_RETURN(const Planner planner,
                             Planner::create(g, tuning.cost, {requests, 1 << 18}));
    ONEBEAT_ASSIGN_OR_RETURN(const CudaDecodeAttention attention,
                             CudaDecodeAttention::create(g, options_.variant));
    std::vector<PlanHeader> bytes(planner.plan_bytes() / sizeof(PlanHeader) + 1);
    ONEBEAT_ASSIGN_OR_RETURN(
        const PlanView plan,
        planner.make_plan({shape.lens},
                          std::as_writable_bytes(std::span(bytes)).first(planner.plan_bytes())));
    ONEBEAT_ASSIGN_OR_RETURN(const auto device_plan,
                             DeviceBuffer<std::byte>::copy_of(plan.bytes(), stream_.get()));
    const ScratchSize size = planner.scratch_size();
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
    ONEBEAT_RETURN_IF_ERROR(make_pages(shape, launch.pages));
    std::int64_t pages = 0;
    for (const std::int32_t len : shape.lens) pages += (len + shape.page - 1) / shape.page;
    const std::size_t half =
        static_cast<std::size_t>(pages) *
        static_cast<std::size_t>(shape.page * shape.kv_heads * shape.head_dim) * 2;
    const std::size_t fitting = pool_.size() / (2 * half);
    if (fitting == 0)
      return Status(StatusCode::kResourceExhausted, "the shape is larger than the pool");
    const double ideal = shape.bytes() / limits_.read_gb_per_s * 1e-3;
    // Enough launches that all sets together are several times the L2, and that the graph's start
    // does not count.
    const int launches = std::clamp(static_cast<int>(320e6 / shape.bytes()) + 1,
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
            std::byte* k = pool_.data() + static_cast<std::size_t>(i) % fitting * 2 * half;
            launch.kv = make_kv_pool(g, layout, pages, k, k + half);
            launch.q = dense_head_rows<const std::uint16_t>(rows_[i % 2].data(), requests,
                                                            shape.heads, shape.head_dim);
            launch.out =
                dense_head_rows(rows_[(i + 1) % 2].data(), requests, shape.heads, shape.head_dim);
            launch.overlap =
                i == 0 || options_.no_overlap ? CudaOverlap::kNone : CudaOverlap::kEarlyLoads;
            ONEBEAT_RETURN_IF_ERROR(attention.launch(
                {device_plan.data(), plan_stamp(g), g.workers, requests}, launch, scratch, s));
          }
          return {};
        }));
    Measurement result;
    ONEBEAT_RETURN_IF_ERROR(time_graph(graph, launches, ideal, result));
    if (faults_.data()[0] != 0)
      return Status(StatusCode::kInternal,
                    fmt::format("a launch reported faults {:#x}", faults_.data()[0]));
    result.workers_active = plan.header().workers_active;
    result.split_units = balance_of(plan, planner.cost_model()).split_units;
    return result;
  }

 private:
  /// Random pages, named through rows of a page map.
  Status make_pages(const Shape& shape, PageMap& map) {
    std::int32_t longest = 0;
    std::int32_t pages = 0;
    for (const std::int32_t len : shape.lens) {
      longest = std::max(longest, len);
      pages += (len + shape.page - 1) / shape.page;
    }
    const auto columns = static_cast<std::size_t>((longest + shape.page - 1) / shape.page);
    const std::size_t rows = shape.lens.size();
    std::vector<std::int32_t> ids(static_cast<std::size_t>(pages));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
    std::vector<std::int32_t> table(rows * columns + rows, 0);
    std::size_t next = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      const auto live = static_cast<std::size_t>((shape.lens[r] + shape.page - 1) / shape.page);
      for (std::size_t c = 0; c < live; ++c) table[r * columns + c] = ids[next++];
      table[rows * columns + r] = static_cast<std::int32_t>(r);
    }
    ONEBEAT_ASSIGN_OR_RETURN(table_, DeviceBuffer<std::int32_t>::copy_of(table, stream_.get()));
    map = {table_.data(), static_cast<std::int64_t>(columns), static_cast<std::int32_t>(rows),
           static_cast<std::int32_t>(columns), table_.data() + rows * columns};
    return {};
  }

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
  DeviceBuffer<std::byte> pool_;
  DeviceBuffer<std::uint16_t> rows_[2];
  DeviceBuffer<std::int32_t> table_;
  PinnedBuffer<std::uint32_t> faults_;
};

struct Mean {
  double log_sum = 0;
  int count = 0;
  double worst = 1e9;
  void add(double ratio) {
    log_sum += std::log(ratio);
    worst = std::min(worst, ratio);
    ++count;
  }
};

Status run(const Options& options) {
  Bench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.set_up(options));
  const double read = bench.limits().read_gb_per_s;
  std::string json = fmt::format(
      "{{\n  \"benchmark\": \"decode_attention\",\n  \"device\": {},\n  \"driver\": {},\n  "
      "\"read_limit_gb_per_s\": {:.0f},\n  \"layout\": {},\n  \"rows\": [",
      json_quoted(bench.facts().name), bench.facts().driver_version, read,
      json_quoted(options.layout));
  std::map<std::string, Mean> means;
  int targets = 0;
  int rows = 0;
  for (const Shape& shape :
       options.irregular ? irregular_shapes() : stored_shapes(options.shapes)) {
    if (options.page != 0 && shape.page != options.page) continue;
    const Result<Measurement> result = bench.measure(shape);
    if (!result.ok()) {
      std::printf("%s %s: %s\n", shape.group.c_str(), shape.batch.c_str(),
                  result.status().message().c_str());
      continue;
    }
    const double ideal = shape.bytes() / read * 1e-3;
    const double target = 3 + ideal / 0.95;
    const double ratio = (shape.peer_us > 0 ? shape.peer_us : target) / result->us;
    for (const std::string& group :
         {std::string("all"), shape.group + fmt::format(" page {}", shape.page)})
      means[group].add(ratio);
    targets += result->us <= target ? 1 : 0;
    json += fmt::format(
        "{}\n    {{\"group\": {}, \"heads\": {}, \"kv_heads\": {}, \"head_dim\": {}, \"batch\": "
        "{}, \"page\": {}, \"us\": {:.3f}, \"spread\": {:.4f}, \"ideal_us\": {:.3f}, "
        "\"stored_peer_us\": {:.2f}, \"peer\": {}, \"workers_active\": {}, \"split_units\": {}}}",
        rows++ == 0 ? "" : ",", json_quoted(shape.group), shape.heads, shape.kv_heads,
        shape.head_dim, json_quoted(shape.batch), shape.page, result->us, result->spread, ideal,
        shape.peer_us, json_quoted(shape.peer), result->workers_active, result->split_units);
    if (!options.quiet) {
      std::printf(
          "%-12s %-30s page %-3d %9.2f us  ideal %8.2f  share %.2f  target %8.2f  peer %8.2f  "
          "ratio %.2f\n",
          shape.group.c_str(), shape.batch.c_str(), shape.page, result->us, ideal,
          ideal / result->us, target, shape.peer_us, ratio);
    }
  }
  json += "\n  ]\n}\n";
  for (const auto& [group, mean] : means)
    std::printf("== %-28s geometric mean %.3f, worst %.2f of %d rows\n", group.c_str(),
                std::exp(mean.log_sum / mean.count), mean.worst, mean.count);
  std::printf("== %d of %d rows within 3 us + ideal / 0.95\n", targets, rows);
  if (!options.output.empty()) std::ofstream(options.output) << json;
  return {};
}

}  // namespace
}  // namespace onebeat

int main(int argc, char** argv) {
  onebeat::Options options;
  CLI::App app{"Decode attention on a CUDA device, beside stored figures of other libraries"};
  app.add_option("--shapes", options.shapes, "CSV of shapes and stored figures (bench/peers/)");
  app.add_flag("--irregular", options.irregular,
               "Shapes outside of that grid instead; compared with 3 us + ideal / 0.95");
  app.add_option("--layout", options.layout,
                 "nhd: as others keep their cache; runs: the engine's own")
      ->check(CLI::IsMember({"nhd", "runs"}));
  app.add_option("--variant", options.variant, "Force a kernel");
  app.add_option("--page", options.page, "Only shapes of this page size");
  app.add_option("--workers", options.workers, "W, instead of the tuned one");
  app.add_option("--min-tiles", options.min_tiles, "Cost model, instead of the tuned one");
  app.add_option("--min-worker-cost", options.min_worker_cost);
  app.add_option("--overhead", options.overhead);
  app.add_flag("--no-overlap", options.no_overlap, "Ordinary launches");
  app.add_flag("--quiet", options.quiet, "Only the means");
  app.add_option("-o,--output", options.output, "JSON");
  CLI11_PARSE(app, argc, argv);
  const onebeat::Status status = onebeat::run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", to_string(status).c_str());
  return 1;
}
