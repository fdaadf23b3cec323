// SPDX-License-Identifier: Apache-2.0
#include "bench/linear_cuda.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/linear_workload.h"
#include "bench/report.h"

namespace onebeat::cli {
namespace {

struct Row {
  std::int32_t rows = 0;
  std::string_view product;
  std::string kernel;  ///< Empty: of a step.
  LinearTime time;
  double bytes = 0;
};

struct Report {
  CudaDeviceFacts facts;
  CudaLimits limits;
  std::int32_t layers = 0;
  std::vector<Row> rows;

  [[nodiscard]] double ideal_us(const Row& row) const {
    return row.bytes / limits.read_gb_per_s * 1e-3;
  }
};

std::string kernel_text(const CudaLinear& linear, std::int32_t rows) {
  const std::int32_t splits = linear.splits(rows);
  return splits == 1 ? std::string(linear.kernel_name(rows))
                     : fmt::format("{}/{}", linear.kernel_name(rows), splits);
}

Result<std::vector<CudaLinear>> make_linears(const LinearModel& model, int multiprocessors,
                                             const LinearBenchOptions& options,
                                             const std::string& variant) {
  CudaLinearOptions linear_options;
  linear_options.variant = variant;
  linear_options.batch_invariant = options.batch_invariant;
  linear_options.trigger = options.trigger;
  std::vector<CudaLinear> linears;
  for (std::int32_t product = 0; product < kLinearProducts; ++product) {
    ONEBEAT_ASSIGN_OR_RETURN(
        const CudaLinear linear,
        CudaLinear::create(product_shape(model, static_cast<LinearProduct>(product)),
                           multiprocessors, linear_options));
    for (const std::int32_t rows : options.rows) {
      if (linear.kernel_name(rows).empty())
        return unsupported("'{}' does not take {} rows", variant, rows);
    }
    linears.push_back(linear);
  }
  return linears;
}

Status measure(const LinearWorkload& work, const std::vector<CudaLinear>& linears,
               std::int32_t rows, bool overlap, Report& report) {
  LinearWorkload::Linears of_step{};
  for (std::int32_t i = 0; i < kLinearProducts; ++i) {
    const auto product = static_cast<LinearProduct>(i);
    const auto index = static_cast<std::size_t>(i);
    of_step[index] = &linears[index];
    Row row{rows, kLinearProductNames[index], kernel_text(linears[index], rows), {}, 0};
    ONEBEAT_ASSIGN_OR_RETURN(row.time, work.time_product(linears[index], product, rows, overlap));
    row.bytes = work.bytes(product, rows);
    report.rows.push_back(row);
  }
  Row step{rows, "step", "", {}, work.step_bytes(rows)};
  ONEBEAT_ASSIGN_OR_RETURN(step.time, work.time_step(of_step, rows, overlap));
  report.rows.push_back(step);
  return {};
}

std::string to_json(const Report& report, const LinearBenchOptions& options) {
  std::string json = fmt::format(
      "{{\"bench\":\"linear\",\"device\":{},\"driver\":{},\"date\":\"{}\",\"version\":\"{}\","
      "\"read_limit_gb_per_s\":{:.0f},\"model\":{},\"layers\":{},\"overlap\":{},"
      "\"batch_invariant\":{},\"rows\":[",
      json_quoted(report.facts.name), report.facts.driver_version, today(), ONEBEAT_VERSION,
      report.limits.read_gb_per_s, json_quoted(options.model), report.layers, !options.no_overlap,
      options.batch_invariant);
  for (const Row& row : report.rows) {
    json += fmt::format(
        "{}\n{{\"rows\":{},\"product\":{},\"kernel\":{},\"us\":{:.3f},\"spread\":{:.4f},"
        "\"ideal_us\":{:.3f},\"share\":{:.4f}}}",
        &row == report.rows.data() ? "" : ",", row.rows, json_quoted(row.product),
        json_quoted(row.kernel), row.time.us, row.time.spread, report.ideal_us(row),
        report.ideal_us(row) / row.time.us);
  }
  return json + "\n]}\n";
}

std::string to_text(const Report& report, const LinearBenchOptions& options) {
  std::string text = fmt::format(
      "{}, reading memory at {:.0f} GB/s; {}, {} layers and the head; ideal: weights, inputs and "
      "outputs at that speed\n",
      report.facts.name, report.limits.read_gb_per_s, options.model, report.layers);
  text += fmt::format("{:>4} {:<8} {:<20} {:>10} {:>10} {:>6}\n", "rows", "product", "kernel", "us",
                      "ideal", "share");
  for (const Row& row : report.rows) {
    text += fmt::format("{:>4} {:<8} {:<20} {:>10.2f} {:>10.2f} {:>6.3f}\n", row.rows, row.product,
                        row.kernel, row.time.us, report.ideal_us(row),
                        report.ideal_us(row) / row.time.us);
  }
  return text;
}

}  // namespace

std::string linear_model_names() {
  std::string names;
  for (const LinearModel& model : linear_models()) {
    if (!names.empty()) names += ", ";
    names += model.name;
  }
  return names;
}

Result<std::string> run_linear_bench(const LinearBenchOptions& options) {
  const std::vector<LinearModel> models = linear_models();
  const auto model = std::find_if(models.begin(), models.end(), [&](const LinearModel& one) {
    return one.name == options.model;
  });
  if (model == models.end()) {
    return not_found("no shapes of '{}'; there are those of {}", options.model,
                     linear_model_names());
  }
  Report report;
  ONEBEAT_ASSIGN_OR_RETURN(report.facts, use_cuda_device(options.device));
  std::vector<std::vector<CudaLinear>> of_variants;
  for (const std::string& variant : options.variants) {
    ONEBEAT_ASSIGN_OR_RETURN(auto linears,
                             make_linears(*model, report.facts.multiprocessors, options, variant));
    of_variants.push_back(std::move(linears));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStream stream, CudaStream::create());
  ONEBEAT_ASSIGN_OR_RETURN(report.limits, measure_cuda_limits(stream.get()));
  ONEBEAT_ASSIGN_OR_RETURN(const LinearWorkload work,
                           LinearWorkload::create(*model, report.facts, stream.get()));
  report.layers = work.layers();
  for (const std::int32_t rows : options.rows) {
    for (const std::vector<CudaLinear>& linears : of_variants)
      ONEBEAT_RETURN_IF_ERROR(measure(work, linears, rows, !options.no_overlap, report));
  }
  return options.format == "json" ? to_json(report, options) : to_text(report, options);
}

}  // namespace onebeat::cli
