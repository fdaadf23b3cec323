// SPDX-License-Identifier: Apache-2.0
#include "bench/cascade/cascade_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/report.h"
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/cascade.h"

namespace onebeat::cli {
namespace {

constexpr std::int64_t kLongest = 1 << 18;

enum class Form { kWithout, kWithoutShared, kCascade };  ///< Shared: pages are kept in the L2.
constexpr Form kForms[] = {Form::kWithout, Form::kWithoutShared, Form::kCascade};

struct DeviceScratch {
  DeviceBuffer<float> outputs, stats;
  DeviceBuffer<std::uint32_t> counters;

  Status allocate(const ScratchSize& size, cudaStream_t stream) {
    ONEBEAT_ASSIGN_OR_RETURN(
        outputs, DeviceBuffer<float>::allocate(static_cast<std::size_t>(size.output_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(
        stats, DeviceBuffer<float>::allocate(static_cast<std::size_t>(size.stats_floats)));
    ONEBEAT_ASSIGN_OR_RETURN(
        counters, DeviceBuffer<std::uint32_t>::allocate(static_cast<std::size_t>(size.counters)));
    return counters.fill_bytes(0, stream);
  }
  [[nodiscard]] AttentionScratch view() const {
    return {{outputs.data(), outputs.size()},
            {stats.data(), stats.size()},
            {counters.data(), counters.size()}};
  }
};

struct HostPlan {
  explicit HostPlan(std::size_t bytes) : headers(bytes / sizeof(PlanHeader) + 1), size(bytes) {}
  std::span<std::byte> span() { return std::as_writable_bytes(std::span(headers)).first(size); }
  std::vector<PlanHeader> headers;
  std::size_t size;
};

struct Row {
  CascadeShape shape;
  double us[3] = {};
  double difference = 0;  ///< Of outputs with and without, relative, in norm.
  std::string prefix_variant;
  std::uint32_t prefix_workers = 0;  ///< Active.
  bool pays = false;                 ///< What the tuning says.
  [[nodiscard]] double without() const { return std::min(us[0], us[1]); }
};

/// One shape on the device.
class CascadeRun {
 public:
  CascadeRun(const CascadeShape& shape, const DeviceBuffer<std::byte>& cache, cudaStream_t stream)
      : shape_(shape), cache_(cache), stream_(stream) {}

  Status prepare(std::int32_t multiprocessors, std::int32_t least_prefix_tokens,
                 std::uint32_t* faults) {
    const CascadeShape& s = shape_;
    if (s.prefix % s.page != 0) {
      return invalid_argument("a prefix of {} tokens does not fill pages of {}", s.prefix, s.page);
    }
    ONEBEAT_ASSIGN_OR_RETURN(const CudaAttentionTuning tuning,
                             cuda_attention_tuning(s.head_dim, KvType::kBF16, multiprocessors));
    AttentionGeometry& g = geometry_;
    g.num_heads = s.heads;
    g.num_kv_heads = s.kv_heads;
    g.head_dim = g.head_dim_v = s.head_dim;
    g.page_tokens = s.page;
    g.tile_tokens = tuning.tile_tokens;
    g.workers = tuning.workers;
    CascadeCost cost = tuning.cascade;
    tuned_launches_ = cost.launches;
    cost.launches = 0;  // whether it pays is what is measured
    if (least_prefix_tokens > 0) {
      cost.min_prefix_worker_cost = static_cast<std::uint32_t>(least_prefix_tokens) * 256 /
                                    static_cast<std::uint32_t>(tuning.tile_tokens);
    }
    ONEBEAT_ASSIGN_OR_RETURN(const CascadePlanner planner,
                             CascadePlanner::create(g, tuning.cost, {s.requests, kLongest}, cost));
    prefix_geometry_ = planner.prefix_planner().geometry();
    ONEBEAT_RETURN_IF_ERROR(plan(planner));
    ONEBEAT_RETURN_IF_ERROR(own_scratch_.allocate(planner.own_planner().scratch_size(), stream_));
    ONEBEAT_RETURN_IF_ERROR(
        prefix_scratch_.allocate(planner.prefix_planner().scratch_size(), stream_));
    ONEBEAT_ASSIGN_OR_RETURN(auto own, CudaDecodeAttention::create(g));
    ONEBEAT_ASSIGN_OR_RETURN(auto prefix, CudaDecodeAttention::create(prefix_geometry_));
    own_ = std::make_unique<CudaDecodeAttention>(std::move(own));
    prefix_ = std::make_unique<CudaDecodeAttention>(std::move(prefix));
    ONEBEAT_RETURN_IF_ERROR(lay_out_pages());
    for (auto* rows : {&rows_[0], &rows_[1], &prefix_rows_}) {
      ONEBEAT_ASSIGN_OR_RETURN(*rows, DeviceBuffer<std::uint16_t>::allocate(elements()));
    }
    for (auto* lse : {&own_lse_, &prefix_lse_}) {
      ONEBEAT_ASSIGN_OR_RETURN(
          *lse, DeviceBuffer<float>::allocate(static_cast<std::size_t>(s.requests * s.heads)));
    }
    launch_.score.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    launch_.faults = faults;
    return {};
  }

  /// Enqueues one layer: queries are rows(layer), outputs rows(layer + 1).
  Status enqueue(Form form, std::size_t layer, CudaOverlap overlap, cudaStream_t stream) {
    const CascadeShape& s = shape_;
    std::byte* k = cache_.data() + layer % sets() * 2 * half_bytes_;
    CudaAttentionLaunch launch = launch_;
    launch.kv = make_kv_pool(geometry_, KvLayout::kNhd, pages_, k, k + half_bytes_);
    launch.overlap = overlap;
    launch.q = dense_head_rows<const std::uint16_t>(rows_[layer % 2].data(), s.requests, s.heads,
                                                    s.head_dim);
    launch.out = dense_head_rows(rows_[(layer + 1) % 2].data(), s.requests, s.heads, s.head_dim);
    const std::int64_t lse_size = std::int64_t{s.requests} * s.heads;
    launch.lse = {own_lse_.data(), lse_size, 0, s.heads, 1};
    launch.kv_is_shared = form == Form::kWithoutShared;
    const auto plan = [&](const DeviceBuffer<std::byte>& bytes, const AttentionGeometry& g) {
      return CudaPlan{bytes.data(), plan_stamp(g), g.workers, s.requests};
    };
    if (form != Form::kCascade) {
      return own_->launch(plan(whole_plan_, geometry_), launch, own_scratch_.view(), stream);
    }
    ONEBEAT_RETURN_IF_ERROR(
        own_->launch(plan(own_plan_, geometry_), launch, own_scratch_.view(), stream));
    launch.out.data = prefix_rows_.data();
    launch.lse.data = prefix_lse_.data();
    launch.pages.row_of = prefix_row_of_.data();
    launch.kv_is_shared = true;
    if (overlap == CudaOverlap::kNone) launch.overlap = CudaOverlap::kLaunch;
    ONEBEAT_RETURN_IF_ERROR(prefix_->launch(plan(prefix_plan_, prefix_geometry_), launch,
                                            prefix_scratch_.view(), stream));
    const auto state = [&](const DeviceBuffer<std::uint16_t>& rows,
                           const DeviceBuffer<float>& lse) {
      return dense_attention_state(RowType::kBF16, rows.data(), lse.data(), 0, s.requests, s.heads,
                                   s.head_dim);
    };
    const AttentionState states[2] = {state(rows_[(layer + 1) % 2], own_lse_),
                                      state(prefix_rows_, prefix_lse_)};
    return cuda_merge_states(
        {RowType::kBF16, s.requests, s.heads, s.head_dim, states, states[0], nullptr}, stream);
  }

  /// Outputs of one layer from the same queries.
  Result<std::vector<std::uint16_t>> output(Form form) {
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(rows_[0].data(), cache_.data(), elements() * 2,
                                                 cudaMemcpyDefault, stream_));
    ONEBEAT_RETURN_IF_ERROR(enqueue(form, 0, CudaOverlap::kNone, stream_));
    return rows_[1].download(stream_);
  }

  [[nodiscard]] std::uint32_t prefix_workers() const { return prefix_workers_; }
  [[nodiscard]] bool pays() const { return saved_tiles_ * 256 > tuned_launches_; }
  [[nodiscard]] std::string prefix_variant() const { return std::string(prefix_->variant().name); }

 private:
  [[nodiscard]] std::size_t elements() const {
    return static_cast<std::size_t>(shape_.requests) *
           static_cast<std::size_t>(shape_.heads * shape_.head_dim);
  }
  [[nodiscard]] std::size_t sets() const { return cache_.size() / (2 * half_bytes_); }

  Status plan(const CascadePlanner& planner) {
    const std::vector<std::int32_t> lens(static_cast<std::size_t>(shape_.requests),
                                         shape_.prefix + shape_.own);
    const std::vector<SharedPrefix> prefixes = {{0, shape_.requests, shape_.prefix}};
    HostPlan whole(planner.own_planner().plan_bytes());
    HostPlan own(planner.own_planner().plan_bytes());
    HostPlan prefix(planner.prefix_planner().plan_bytes());
    std::vector<std::int32_t> numbers(planner.numbers());
    ONEBEAT_RETURN_IF_ERROR(planner.own_planner().make_plan({lens}, whole.span()).status());
    ONEBEAT_ASSIGN_OR_RETURN(
        const CascadePlan cascade,
        planner.make_plan({lens}, prefixes, {own.span(), prefix.span(), numbers}));
    if (!cascade.prefix) {
      return invalid_argument("{} requests that share {} tokens save nothing", shape_.requests,
                              shape_.prefix);
    }
    prefix_workers_ = cascade.prefix->header().workers_active;
    saved_tiles_ = static_cast<std::uint64_t>(cascade.saved_tiles);
    std::vector<std::int32_t> row_of(static_cast<std::size_t>(shape_.requests), 0);
    std::copy(cascade.page_row_request.begin(), cascade.page_row_request.end(), row_of.begin());
    ONEBEAT_ASSIGN_OR_RETURN(whole_plan_, upload<std::byte>(whole.span()));
    ONEBEAT_ASSIGN_OR_RETURN(own_plan_, upload<std::byte>(own.span()));
    ONEBEAT_ASSIGN_OR_RETURN(prefix_plan_, upload<std::byte>(prefix.span()));
    ONEBEAT_ASSIGN_OR_RETURN(prefix_row_of_, upload<std::int32_t>(row_of));
    return {};
  }

  /// The first pages of all requests are the same; all lie anywhere.
  Status lay_out_pages() {
    const CascadeShape& s = shape_;
    const std::int32_t shared = s.prefix / s.page;
    const std::int32_t own = (s.own + s.page - 1) / s.page;
    pages_ = shared + s.requests * own;
    half_bytes_ = static_cast<std::size_t>(pages_) *
                  static_cast<std::size_t>(s.page * s.kv_heads * s.head_dim) * 2;
    if (sets() == 0) {
      return resource_exhausted("{} MB of K and V are more than the {} MB set aside",
                                2 * half_bytes_ >> 20, cache_.size() >> 20);
    }
    std::vector<std::int32_t> ids(static_cast<std::size_t>(pages_));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
    std::vector<std::int32_t> table;
    for (std::int32_t r = 0; r < s.requests; ++r) {
      table.insert(table.end(), ids.begin(), ids.begin() + shared);
      const auto begin = ids.begin() + shared + r * own;
      table.insert(table.end(), begin, begin + own);
    }
    std::vector<std::int32_t> rows(static_cast<std::size_t>(s.requests));
    std::iota(rows.begin(), rows.end(), 0);
    ONEBEAT_ASSIGN_OR_RETURN(table_, upload<std::int32_t>(table));
    ONEBEAT_ASSIGN_OR_RETURN(row_of_, upload<std::int32_t>(rows));
    launch_.pages = {table_.data(), shared + own, s.requests, shared + own, row_of_.data()};
    return {};
  }

  template <typename T>
  [[nodiscard]] Result<DeviceBuffer<T>> upload(std::span<const T> values) const {
    return DeviceBuffer<T>::copy_of(values, stream_);
  }

  CascadeShape shape_;
  const DeviceBuffer<std::byte>& cache_;
  cudaStream_t stream_;
  AttentionGeometry geometry_, prefix_geometry_;
  std::unique_ptr<CudaDecodeAttention> own_, prefix_;
  DeviceScratch own_scratch_, prefix_scratch_;
  DeviceBuffer<std::byte> whole_plan_, own_plan_, prefix_plan_;
  DeviceBuffer<std::int32_t> table_, row_of_, prefix_row_of_;
  DeviceBuffer<std::uint16_t> rows_[2], prefix_rows_;
  DeviceBuffer<float> own_lse_, prefix_lse_;
  CudaAttentionLaunch launch_;
  std::uint32_t prefix_workers_ = 0;
  std::uint64_t saved_tiles_ = 0, tuned_launches_ = 0;
  std::int32_t pages_ = 0;
  std::size_t half_bytes_ = 0;  // of K
};

double bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

double relative_difference(const std::vector<std::uint16_t>& a,
                           const std::vector<std::uint16_t>& b) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (bf16(a[i]) - bf16(b[i])) * (bf16(a[i]) - bf16(b[i]));
    size += bf16(a[i]) * bf16(a[i]);
  }
  return std::sqrt(difference / size);
}

class CascadeBench {
 public:
  Status open(int device, std::int32_t least_prefix_tokens) {
    least_prefix_tokens_ = least_prefix_tokens;
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(device));
    ONEBEAT_ASSIGN_OR_RETURN(stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(begin_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(end_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(limits_, measure_cuda_limits(stream_.get()));
    ONEBEAT_ASSIGN_OR_RETURN(faults_, PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    return fill_cache();
  }

  Result<Row> measure(const CascadeShape& shape) {
    CascadeRun run(shape, cache_, stream_.get());
    ONEBEAT_RETURN_IF_ERROR(
        run.prepare(facts_.multiprocessors, least_prefix_tokens_, faults_.data()));
    Row row;
    row.shape = shape;
    row.prefix_variant = run.prefix_variant();
    row.prefix_workers = run.prefix_workers();
    row.pays = run.pays();
    ONEBEAT_ASSIGN_OR_RETURN(const auto without, run.output(Form::kWithout));
    ONEBEAT_ASSIGN_OR_RETURN(const auto with, run.output(Form::kCascade));
    row.difference = relative_difference(without, with);
    std::vector<CudaGraph> graphs;
    for (const Form form : kForms) {
      ONEBEAT_ASSIGN_OR_RETURN(
          CudaGraph graph, CudaGraph::capture(stream_.get(), [&](cudaStream_t s) -> Status {
            for (std::size_t layer = 0; layer < kLayers; ++layer) {
              ONEBEAT_RETURN_IF_ERROR(run.enqueue(
                  form, layer, layer == 0 ? CudaOverlap::kNone : CudaOverlap::kEarlyLoads, s));
            }
            return {};
          }));
      graphs.push_back(std::move(graph));
    }
    std::vector<double> times[3];
    for (int round = 0; round < 10; ++round) {
      for (std::size_t i = 0; i < graphs.size(); ++i) {
        ONEBEAT_RETURN_IF_ERROR(begin_.record(stream_.get()));
        ONEBEAT_RETURN_IF_ERROR(graphs[i].launch(stream_.get()));
        ONEBEAT_RETURN_IF_ERROR(end_.record(stream_.get()));
        ONEBEAT_ASSIGN_OR_RETURN(const float us, end_.microseconds_since(begin_));
        if (round > 0) times[i].push_back(us / static_cast<double>(kLayers));
      }
    }
    for (std::size_t i = 0; i < std::size(times); ++i) {
      std::sort(times[i].begin(), times[i].end());
      row.us[i] = times[i][times[i].size() / 2];
    }
    if (faults_.data()[0] != 0) {
      return Status(StatusCode::kInternal,
                    fmt::format("a launch reported faults {:#x}", faults_.data()[0]));
    }
    return row;
  }

  [[nodiscard]] std::string text(const std::vector<Row>& rows) const {
    std::string text = fmt::format(
        "{}, reading memory at {:.0f} GB/s; us a layer; shared: pages are kept in the L2\n",
        facts_.name, limits_.read_gb_per_s);
    for (const Row& row : rows) {
      const CascadeShape& s = row.shape;
      text += fmt::format(
          "{}/{} heads of {}, page {}, {} x ({} + {}): without {:.2f}, without shared {:.2f}, "
          "cascade {:.2f}: {:.2f} times as fast; prefix on {} workers of {}, outputs differ by "
          "{:.1e}; tuning: {}\n",
          s.heads, s.kv_heads, s.head_dim, s.page, s.requests, s.prefix, s.own, row.us[0],
          row.us[1], row.us[2], row.without() / row.us[2], row.prefix_workers, row.prefix_variant,
          row.difference, row.pays ? "pays" : "does not pay");
    }
    return text;
  }

  [[nodiscard]] std::string json(const std::vector<Row>& rows) const {
    std::string json = fmt::format(
        "{{\"bench\":\"cascade\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":\"{}\","
        "\"read_limit_gb_per_s\":{:.0f},\"rows\":[",
        json_quoted(facts_.name), facts_.driver_version, today(), ONEBEAT_VERSION,
        limits_.read_gb_per_s);
    for (const Row& row : rows) {
      const CascadeShape& s = row.shape;
      json += fmt::format(
          "{}\n{{\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"page\":{},\"requests\":{},"
          "\"prefix\":{},\"own\":{},\"without_us\":{:.3f},\"without_shared_us\":{:.3f},"
          "\"cascade_us\":{:.3f},\"speedup\":{:.3f},\"prefix_variant\":{},\"prefix_workers\":{},"
          "\"tuning_pays\":{},\"difference\":{:.2e}}}",
          &row == rows.data() ? "" : ",", s.heads, s.kv_heads, s.head_dim, s.page, s.requests,
          s.prefix, s.own, row.us[0], row.us[1], row.us[2], row.without() / row.us[2],
          json_quoted(row.prefix_variant), row.prefix_workers, row.pays, row.difference);
    }
    return json + "\n]}\n";
  }

 private:
  static constexpr std::size_t kLayers = 24;

  Status fill_cache() {
    constexpr std::size_t kPattern = std::size_t{64} << 20;
    const std::size_t bytes = std::min(std::size_t{8} << 30, facts_.memory_free_bytes / 2);
    ONEBEAT_ASSIGN_OR_RETURN(cache_,
                             DeviceBuffer<std::byte>::allocate(bytes / kPattern * kPattern));
    std::vector<std::uint16_t> pattern(kPattern / 2);
    std::uint32_t state = 1;
    for (std::uint16_t& x : pattern) {  // bf16 of sizes 0.1 to 0.5 and both signs
      state = state * 1664525u + 1013904223u;
      x = static_cast<std::uint16_t>(0x3e00u + (state >> 31 << 15) + (state >> 8 & 0xffu));
    }
    for (std::size_t at = 0; at < cache_.size(); at += kPattern) {
      ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(cache_.data() + at, pattern.data(), kPattern,
                                                   cudaMemcpyDefault, stream_.get()));
    }
    return stream_.synchronize();
  }

  std::int32_t least_prefix_tokens_ = 0;
  CudaDeviceFacts facts_;
  CudaLimits limits_;
  CudaStream stream_;
  CudaEvent begin_, end_;
  DeviceBuffer<std::byte> cache_;
  PinnedBuffer<std::uint32_t> faults_;
};

}  // namespace

Result<std::string> run_cascade_bench(const CascadeBenchOptions& options) {
  CascadeBench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.open(options.device, options.least_prefix_tokens));
  std::vector<Row> rows;
  for (const CascadeShape& shape : options.shapes) {
    ONEBEAT_ASSIGN_OR_RETURN(Row row, bench.measure(shape));
    rows.push_back(std::move(row));
  }
  return options.json ? bench.json(rows) : bench.text(rows);
}

}  // namespace onebeat::cli
