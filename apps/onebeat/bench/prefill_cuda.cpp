// SPDX-License-Identifier: Apache-2.0
#include "bench/prefill_cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "attention/cuda/prefill/matrix_limit.h"
#include "base/error.h"
#include "base/json_text.h"
#include "bench/report.h"
#include "device/cuda_device.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_prefill_cuda.h"

namespace onebeat::cli {
namespace {

struct Shape {
  std::int32_t heads = 32, kv_heads = 8, head_dim = 128, page = 64, prefix = 0;
  std::vector<std::int32_t> queries;

  [[nodiscard]] std::int64_t query_tokens() const {
    return std::accumulate(queries.begin(), queries.end(), std::int64_t{0});
  }
  [[nodiscard]] std::int32_t longest() const {
    return *std::max_element(queries.begin(), queries.end());
  }
  /// Of products whose results count: what causality hides is not in it.
  [[nodiscard]] double operations() const {
    double pairs = 0;
    for (const std::int32_t q : queries) {
      pairs += static_cast<double>(q) * prefix + static_cast<double>(q) * (q + 1) / 2;
    }
    return 4.0 * pairs * head_dim * heads;
  }
};

std::vector<Shape> default_shapes() {
  std::vector<Shape> shapes;
  for (const std::int32_t tokens : {2048, 4096, 8192, 16384})
    shapes.push_back({.queries = {tokens}});
  for (const std::int32_t tokens : {2048, 8192}) {
    shapes.push_back({.page = 16, .queries = {tokens}});
    shapes.push_back({.head_dim = 64, .queries = {tokens}});
    shapes.push_back({.head_dim = 64, .page = 1, .queries = {tokens}});
  }
  shapes.push_back({.prefix = 32768, .queries = {2048}});
  shapes.push_back({.head_dim = 64, .page = 1, .prefix = 32768, .queries = {2048}});
  shapes.push_back({.queries = std::vector<std::int32_t>(16, 512)});
  shapes.push_back({.queries = {100, 3000, 17, 900, 2047, 129, 1, 1999}});
  return shapes;
}

struct Row {
  Shape shape;
  std::string_view variant;
  double us = 0, spread = 0;
  [[nodiscard]] double operations_per_second() const { return shape.operations() / us * 1e6; }
};

class Bench {
 public:
  Status open(const CudaPrefillBenchOptions& options) {
    layout_ = options.layout == "runs" ? KvLayout::kRuns : KvLayout::kNhd;
    ONEBEAT_ASSIGN_OR_RETURN(facts_, use_cuda_device(options.device));
    ONEBEAT_ASSIGN_OR_RETURN(stream_, CudaStream::create());
    ONEBEAT_ASSIGN_OR_RETURN(begin_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(end_, CudaEvent::create());
    ONEBEAT_ASSIGN_OR_RETURN(faults_, PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    ONEBEAT_ASSIGN_OR_RETURN(limit_, cuda::measure_matrix_limit(stream_.get()));
    return {};
  }
  [[nodiscard]] const CudaDeviceFacts& facts() const { return facts_; }
  [[nodiscard]] double limit() const { return limit_; }

  Result<Row> measure(const Shape& shape, std::string_view variant) {
    AttentionGeometry g;
    g.num_heads = shape.heads;
    g.num_kv_heads = shape.kv_heads;
    g.head_dim = g.head_dim_v = shape.head_dim;
    g.page_tokens = shape.page;
    ONEBEAT_ASSIGN_OR_RETURN(const CudaPrefillAttention attention,
                             CudaPrefillAttention::create(g, variant));
    if (shape.query_tokens() == 0) return invalid_argument("no request has a query token");
    if (shape.query_tokens() > (1 << 20) || shape.prefix > (1 << 20)) {
      return out_of_range("{} query tokens behind {}; at most 1048576 each", shape.query_tokens(),
                          shape.prefix);
    }
    ONEBEAT_RETURN_IF_ERROR(lay_out(shape, g));
    const auto tokens = static_cast<std::int32_t>(shape.query_tokens());
    const CudaPrefillBatch batch{query_begin_.data(), lens_.data(),
                                 static_cast<std::int32_t>(shape.queries.size()), tokens,
                                 shape.longest()};
    launch_.q =
        dense_head_rows<const std::uint16_t>(q_.data(), tokens, shape.heads, shape.head_dim);
    launch_.out = dense_head_rows(out_.data(), tokens, shape.heads, shape.head_dim);
    launch_.score.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    launch_.faults = faults_.data();

    constexpr double kMicrosecondsOfARow = 4000;
    const int launches = std::clamp(
        static_cast<int>(kMicrosecondsOfARow / (shape.operations() / limit_ * 1e6)), 3, 100);
    std::vector<float> times;
    for (int i = 0; i < 8; ++i) {
      ONEBEAT_RETURN_IF_ERROR(begin_.record(stream_.get()));
      for (int n = 0; n < launches; ++n) {
        ONEBEAT_RETURN_IF_ERROR(attention.launch(batch, launch_, stream_.get()));
      }
      ONEBEAT_RETURN_IF_ERROR(end_.record(stream_.get()));
      ONEBEAT_ASSIGN_OR_RETURN(const float us, end_.microseconds_since(begin_));
      if (i > 0) times.push_back(us / static_cast<float>(launches));  // the first one warms up
    }
    if (faults_.data()[0] != 0)
      return internal_error("a launch reported faults {:#x}", faults_.data()[0]);
    std::sort(times.begin(), times.end());
    Row row{shape, attention.variant().name};
    row.us = times[times.size() / 2];
    row.spread = (times.back() - times.front()) / times[times.size() / 2];
    return row;
  }

 private:
  /// Random pages, random numbers.
  Status lay_out(const Shape& shape, const AttentionGeometry& g) {
    const cudaStream_t stream = stream_.get();
    std::vector<std::int32_t> begin = {0};
    std::vector<std::int32_t> lens;
    std::int64_t pages = 0;
    for (const std::int32_t q : shape.queries) {
      begin.push_back(begin.back() + q);
      lens.push_back(shape.prefix + q);
      pages += (lens.back() + shape.page - 1) / shape.page;
    }
    const std::int64_t columns = (shape.prefix + shape.longest() + shape.page - 1) / shape.page;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(pages));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(1));
    std::vector<std::int32_t> table(shape.queries.size() * static_cast<std::size_t>(columns), -1);
    std::size_t next = 0;
    for (std::size_t r = 0; r < lens.size(); ++r) {
      for (std::int64_t p = 0; p * shape.page < lens[r]; ++p)
        table[r * static_cast<std::size_t>(columns) + static_cast<std::size_t>(p)] = ids[next++];
    }
    ONEBEAT_ASSIGN_OR_RETURN(query_begin_, DeviceBuffer<std::int32_t>::copy_of(begin, stream));
    ONEBEAT_ASSIGN_OR_RETURN(lens_, DeviceBuffer<std::int32_t>::copy_of(lens, stream));
    ONEBEAT_ASSIGN_OR_RETURN(table_, DeviceBuffer<std::int32_t>::copy_of(table, stream));
    const auto row_elements = static_cast<std::size_t>(shape.query_tokens() * shape.heads) *
                              static_cast<std::size_t>(shape.head_dim);
    const auto kv_elements = static_cast<std::size_t>(pages * shape.page * shape.kv_heads) *
                             static_cast<std::size_t>(shape.head_dim);
    ONEBEAT_ASSIGN_OR_RETURN(q_, random_elements(row_elements));
    ONEBEAT_ASSIGN_OR_RETURN(out_, DeviceBuffer<std::uint16_t>::allocate(row_elements));
    ONEBEAT_ASSIGN_OR_RETURN(k_, random_elements(kv_elements));
    ONEBEAT_ASSIGN_OR_RETURN(v_, random_elements(kv_elements));
    launch_.kv = make_kv_pool(g, layout_, pages, k_.data(), v_.data());
    launch_.pages = {table_.data(), columns, static_cast<std::int32_t>(lens.size()),
                     static_cast<std::int32_t>(columns), nullptr};
    return {};
  }

  /// About normally distributed bf16; a block of them, repeated at odd places.
  [[nodiscard]] Result<DeviceBuffer<std::uint16_t>> random_elements(std::size_t count) {
    constexpr std::size_t kBlock = (1 << 20) + 24;
    if (block_.empty()) {
      std::mt19937 random(7);
      std::normal_distribution<float> normal;
      for (std::size_t i = 0; i < kBlock; ++i) {
        const float value = normal(random);
        block_.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
      }
    }
    ONEBEAT_ASSIGN_OR_RETURN(auto buffer, DeviceBuffer<std::uint16_t>::allocate(count));
    for (std::size_t at = 0; at < count; at += kBlock) {
      ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(buffer.data() + at, block_.data(),
                                                   std::min(kBlock, count - at) * 2,
                                                   cudaMemcpyHostToDevice, stream_.get()));
    }
    ONEBEAT_RETURN_IF_ERROR(stream_.synchronize());
    return Result<DeviceBuffer<std::uint16_t>>(std::move(buffer));
  }

  KvLayout layout_ = KvLayout::kNhd;
  CudaDeviceFacts facts_;
  double limit_ = 0;
  CudaStream stream_;
  CudaEvent begin_, end_;
  PinnedBuffer<std::uint32_t> faults_;
  std::vector<std::uint16_t> block_;
  DeviceBuffer<std::int32_t> query_begin_, lens_, table_;
  DeviceBuffer<std::uint16_t> q_, out_, k_, v_;
  CudaAttentionLaunch launch_;
};

std::string described(const Shape& shape) {
  std::string text;
  const bool same = std::all_of(shape.queries.begin(), shape.queries.end(),
                                [&](std::int32_t q) { return q == shape.queries[0]; });
  if (shape.queries.size() == 1 || !same) {
    for (const std::int32_t q : shape.queries)
      text += fmt::format("{}{}", text.empty() ? "" : ",", q);
  } else {
    text = fmt::format("{}x{}", shape.queries[0], shape.queries.size());
  }
  return shape.prefix > 0 ? fmt::format("{} behind {}", text, shape.prefix) : text;
}

std::string to_json(const Bench& bench, const CudaPrefillBenchOptions& options,
                    const std::vector<Row>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"prefill-attention\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":"
      "\"{}\",\"matrix_limit_tflops\":{:.1f},\"layout\":{},\"rows\":[",
      json_quoted(bench.facts().name), bench.facts().driver_version, today(), ONEBEAT_VERSION,
      bench.limit() * 1e-12, json_quoted(options.layout));
  for (const Row& row : rows) {
    const Shape& s = row.shape;
    json += fmt::format(
        "{}\n{{\"batch\":{},\"heads\":{},\"kv_heads\":{},\"head_dim\":{},\"page\":{},\"prefix\":{},"
        "\"variant\":{},\"us\":{:.2f},\"spread\":{:.4f},\"tflops\":{:.1f},\"share\":{:.3f}}}",
        &row == rows.data() ? "" : ",", json_quoted(described(s)), s.heads, s.kv_heads, s.head_dim,
        s.page, s.prefix, json_quoted(row.variant), row.us, row.spread,
        row.operations_per_second() * 1e-12, row.operations_per_second() / bench.limit());
  }
  return json + "\n]}\n";
}

std::string to_text(const Bench& bench, const std::vector<Row>& rows) {
  std::string text = fmt::format("{}, multiplying at {:.0f} TFLOP/s from shared memory\n",
                                 bench.facts().name, bench.limit() * 1e-12);
  text += fmt::format("{:<12} {:<36} {:>4} {:<16} {:>10} {:>8} {:>5}\n", "heads", "query tokens",
                      "page", "kernel", "us", "TFLOP/s", "share");
  for (const Row& row : rows) {
    const Shape& s = row.shape;
    text += fmt::format("{:<12} {:<36} {:>4} {:<16} {:>10.1f} {:>8.1f} {:>5.2f}\n",
                        fmt::format("{}/{}/{}", s.heads, s.kv_heads, s.head_dim), described(s),
                        s.page, row.variant, row.us, row.operations_per_second() * 1e-12,
                        row.operations_per_second() / bench.limit());
  }
  return text;
}

}  // namespace

Result<std::string> run_cuda_prefill_bench(const CudaPrefillBenchOptions& options) {
  Bench bench;
  ONEBEAT_RETURN_IF_ERROR(bench.open(options));
  const std::vector<Shape> shapes =
      options.lens.empty() ? default_shapes()
                           : std::vector<Shape>{{options.heads, options.kv_heads, options.head_dim,
                                                 options.page, options.prefix, options.lens}};
  std::vector<Row> rows;
  for (const Shape& shape : shapes) {
    for (const std::string& variant : options.variants) {
      ONEBEAT_ASSIGN_OR_RETURN(const Row row, bench.measure(shape, variant));
      rows.push_back(row);
    }
  }
  return options.format == "json" ? to_json(bench, options, rows) : to_text(bench, rows);
}

}  // namespace onebeat::cli
