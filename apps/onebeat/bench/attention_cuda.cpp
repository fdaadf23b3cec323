// SPDX-License-Identifier: Apache-2.0
#include "bench/attention_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <sstream>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/peer_figures.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/plan.h"

namespace onebeat::cli {
namespace {

using Options = CudaAttentionBenchOptions;

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

std::vector<Shape> stored_shapes() {
  std::vector<Shape> shapes;
  std::istringstream file{std::string(stored_decode_attention_figures())};
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
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(options.device));
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
      return resource_exhausted("{} MB of K and V are more than the {} MB set aside",
                                2 * half >> 20, pool_.size() >> 20);
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

struct Row {
  Shape shape;
  Measurement measured;
  double ideal_us = 0;
  double target_us = 0;

  /// Of the stored figure, or of the target where none is stored.
  [[nodiscard]] double ratio() const {
    return (shape.peer_us > 0 ? shape.peer_us : target_us) / measured.us;
  }
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

std::string to_json(const Bench& bench, const Options& options, const std::vector<Row>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"attention\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":\"{}\","
      "\"read_limit_gb_per_s\":{:.0f},\"set\":{},\"layout\":{},\"overlap\":{},\"rows\":[",
      json_quoted(bench.facts().name), bench.facts().driver_version, options.date, ONEBEAT_VERSION,
      bench.limits().read_gb_per_s, json_quoted(options.set), json_quoted(options.layout),
      !options.no_overlap);
  for (const Row& row : rows) {
    const Shape& s = row.shape;
    json += fmt::format(
        "{}\n{{\"group\":{},\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"batch\":{},\"page\":{},"
        "\"us\":{:.3f},\"spread\":{:.4f},\"ideal_us\":{:.3f},\"share\":{:.3f},"
        "\"stored_peer_us\":{:.2f},\"peer\":{},\"workers_active\":{},\"split_units\":{}}}",
        &row == rows.data() ? "" : ",", json_quoted(s.group), s.heads, s.kv_heads, s.head_dim,
        json_quoted(s.batch), s.page, row.measured.us, row.measured.spread, row.ideal_us,
        row.ideal_us / row.measured.us, s.peer_us, json_quoted(s.peer), row.measured.workers_active,
        row.measured.split_units);
  }
  return json + "\n]}\n";
}

std::string to_text(const Bench& bench, const std::vector<Row>& rows) {
  std::string text = fmt::format("{}, reading memory at {:.0f} GB/s; target: 3 us + ideal / 0.95\n",
                                 bench.facts().name, bench.limits().read_gb_per_s);
  text += fmt::format("{:<12} {:<30} {:>4} {:>9} {:>9} {:>5} {:>9} {:>12} {:>5}\n", "heads",
                      "batch", "page", "us", "ideal", "share", "target", "stored peer", "ratio");
  std::map<std::string, Mean> means;
  int within = 0;
  for (const Row& row : rows) {
    const Shape& s = row.shape;
    text +=
        fmt::format("{:<12} {:<30} {:>4} {:>9.2f} {:>9.2f} {:>5.2f} {:>9.2f} {:>12.2f} {:>5.2f}\n",
                    s.group, s.batch, s.page, row.measured.us, row.ideal_us,
                    row.ideal_us / row.measured.us, row.target_us, s.peer_us, row.ratio());
    means["all"].add(row.ratio());
    means[fmt::format("{} page {}", s.group, s.page)].add(row.ratio());
    within += row.measured.us <= row.target_us ? 1 : 0;
  }
  for (const auto& [group, mean] : means) {
    text += fmt::format("{}: geometric mean of ratios {:.3f}, worst {:.2f}, {} rows\n", group,
                        std::exp(mean.log_sum / mean.count), mean.worst, mean.count);
  }
  return text + fmt::format("{} of {} rows within the target\n", within, rows.size());
}

std::vector<Shape> shapes_of(const Options& options) {
  if (options.set == "served") return stored_shapes();
  if (options.set == "irregular") return irregular_shapes();
  return {{fmt::format("{}/{}/{}", options.heads, options.kv_heads, options.head_dim), "lens", "",
           options.heads, options.kv_heads, options.head_dim, options.page, options.lens, 0}};
}

}  // namespace

Result<std::string> run_cuda_attention_bench(const CudaAttentionBenchOptions& options) {
  Bench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.set_up(options));
  std::vector<Row> rows;
  for (Shape& shape : shapes_of(options)) {
    Row row;
    ONEBEAT_ASSIGN_OR_RETURN(row.measured, bench.measure(shape));
    row.ideal_us = shape.bytes() / bench.limits().read_gb_per_s * 1e-3;
    row.target_us = 3 + row.ideal_us / 0.95;
    row.shape = std::move(shape);
    rows.push_back(std::move(row));
  }
  return options.format == "json" ? to_json(bench, options, rows) : to_text(bench, rows);
}

}  // namespace onebeat::cli
