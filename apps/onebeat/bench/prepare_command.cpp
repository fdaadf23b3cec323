// SPDX-License-Identifier: Apache-2.0
// `onebeat bench prepare`: time of one prepare_step, here on the CPU, beside a plain copy of as
// many table bytes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bench/report.h"
#include "commands.h"
#include "onebeat/step.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/prepare_cuda.h"
#endif

namespace onebeat::cli {
namespace {

struct PrepareOptions {
  std::vector<std::int32_t> batches = {1, 32, 256, 4096};
  std::vector<std::int32_t> contexts = {8192};
  std::vector<std::int32_t> pages = {16};
  std::string tables = "none";
  bool window = false;
  std::int32_t classes = 2;
  std::int32_t workers = 132;
  std::int32_t iterations = 200;
  std::string set;
  std::string device = "cpu";
  std::string format = "text";
};

struct Measured {
  std::int32_t requests = 0;
  std::int32_t context = 0;
  std::int32_t page_tokens = 0;
  double us = 0, us_p10 = 0, us_p90 = 0;
  double table_mb = 0;
  double copy_us = 0;  ///< A copy of the tables' bytes; 0 without tables.
};

/// Median, 10th and 90th percentile of `iterations` calls, in microseconds.
template <typename Call>
void time_calls(std::int32_t iterations, Call&& call, double& median, double& p10, double& p90) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 3; ++i) call();
  std::vector<double> us;
  for (std::int32_t i = 0; i < iterations; ++i) {
    const auto begin = Clock::now();
    call();
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::sort(us.begin(), us.end());
  median = us[us.size() / 2];
  p10 = us[us.size() / 10];
  p90 = us[us.size() * 9 / 10];
}

/// The memory of one decode batch: slots in random order, lengths from context/2 to context.
class Batch {
 public:
  Batch(const PrepareOptions& options, std::int32_t requests, std::int32_t context,
        std::int32_t page_tokens)
      : requests_(requests), context_(context), page_tokens_(page_tokens) {
    std::mt19937_64 random(1);
    std::uniform_int_distribution<std::int64_t> length((context + 1) / 2, context);
    // Few distinct rows, as a benchmark of large batches needs no larger memory than a pool has.
    rows_in_map_ = std::min(requests, 512);
    std::uniform_int_distribution<std::int32_t> slot(0, kSlots - 1);
    for (std::int32_t b = 0; b < requests; ++b) {
      lens_.push_back(length(random));
      rows_.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(rows_in_map_)));
    }
    out_.resize(4 * (static_cast<std::size_t>(requests) + 1));
    if (options.tables == "none") return;
    map_.resize(static_cast<std::size_t>(rows_in_map_) * static_cast<std::size_t>(context));
    for (std::int32_t& entry : map_) entry = slot(random);
    table_.resize(static_cast<std::size_t>(requests * pages()));
    if (!options.window) return;
    window_table_.resize(table_.size());
    for (std::int64_t s = 0; s < kSlots; ++s) window_of_.push_back(kSlots - 1 - s);
  }

  std::int64_t pages() const { return (context_ + page_tokens_ - 1) / page_tokens_; }

  std::int64_t written_table_entries(TableContract contract) const {
    std::int64_t entries = 0;
    for (const std::int64_t len : lens_) {
      entries +=
          contract == TableContract::kDense ? pages() : (len + page_tokens_ - 1) / page_tokens_;
    }
    return (contract == TableContract::kNone ? 0 : entries) * (window_table_.empty() ? 1 : 2);
  }

  StepArguments arguments(TableContract contract) {
    const auto part = static_cast<std::size_t>(requests_) + 1;
    StepArguments step;
    step.num_requests = requests_;
    step.lens = std::span<const std::int64_t>(lens_);
    step.out_lens = std::span(out_).first(part);
    step.cu_seqlens_q = std::span(out_).subspan(part, part);
    step.cu_seqlens_k = std::span(out_).subspan(2 * part, part);
    step.positions = std::span(out_).subspan(3 * part, part);
    if (contract == TableContract::kNone) return step;
    step.rows_of = std::span<const std::int32_t>(rows_);
    step.page_map = PageMapKind::kSlots;
    step.pages = {map_.data(), rows_in_map_, context_, context_};
    step.tables = contract;
    step.dense_pages = pages();
    step.page_table = {table_.data(), requests_, pages(), pages()};
    if (!window_table_.empty()) {
      step.window_table = {window_table_.data(), requests_, pages(), pages()};
      step.window_slot_of = std::span<const std::int64_t>(window_of_);
    }
    return step;
  }

 private:
  static constexpr std::int32_t kSlots = 1 << 20;
  std::int32_t requests_, context_, page_tokens_, rows_in_map_ = 0;
  std::vector<std::int64_t> lens_;
  std::vector<std::int32_t> rows_;
  std::vector<std::int32_t> map_, out_, table_, window_table_;
  std::vector<std::int64_t> window_of_;
};

std::vector<StepClass> make_classes(const PrepareOptions& options, std::int32_t page_tokens) {
  std::vector<StepClass> classes;
  for (std::int32_t c = 0; c < options.classes; ++c) {
    StepClass of_class;
    of_class.geometry.num_heads = 32;
    of_class.geometry.num_kv_heads = 8;
    of_class.geometry.head_dim = of_class.geometry.head_dim_v = 128;
    of_class.geometry.page_tokens = page_tokens;
    of_class.geometry.workers = options.workers;
    of_class.geometry.window_left = c == 0 ? -1 : 512 * c - 1;
    classes.push_back(of_class);
  }
  return classes;
}

Result<Measured> measure(const PrepareOptions& options, std::int32_t requests, std::int32_t context,
                         std::int32_t page_tokens) {
  const TableContract contract = options.tables == "none"   ? TableContract::kNone
                                 : options.tables == "live" ? TableContract::kLive
                                                            : TableContract::kDense;
  const std::vector<StepClass> classes = make_classes(options, page_tokens);
  ONEBEAT_ASSIGN_OR_RETURN(StepPlanner planner,
                           StepPlanner::create(classes, page_tokens, {requests, context, 1}));
  Batch batch(options, requests, context, page_tokens);
  StepArguments step = batch.arguments(contract);
  std::vector<std::vector<PlanHeader>> plans;
  for (std::int32_t c = 0; c < options.classes; ++c) {
    plans.emplace_back(planner.plan_bytes(c) / sizeof(PlanHeader) + 1);
    step.plans[static_cast<std::size_t>(c)] = reinterpret_cast<std::byte*>(plans.back().data());
  }
  Status status;
  Measured result{requests, context, page_tokens};
  time_calls(
      options.iterations, [&] { status = planner.prepare(step); }, result.us, result.us_p10,
      result.us_p90);
  ONEBEAT_RETURN_IF_ERROR(status);
  const std::int64_t entries = batch.written_table_entries(contract);
  result.table_mb = static_cast<double>(entries) * 4e-6;
  if (entries > 0) {
    std::vector<std::int32_t> from(static_cast<std::size_t>(entries), 1), to(from.size());
    double p10 = 0, p90 = 0;
    time_calls(
        options.iterations,
        [&] { std::memcpy(to.data(), from.data(), to.size() * sizeof(std::int32_t)); },
        result.copy_us, p10, p90);
  }
  return result;
}

std::string to_json(const PrepareOptions& options, const std::vector<Measured>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"prepare\",\"device\":\"cpu\",\"cpu\":\"{}\",\"threads\":1,\"date\":\"{}\","
      "\"version\":\"{}\","
      "\"limit\":\"a copy of the tables' bytes, one thread, same "
      "run\",\"tables\":\"{}\",\"window_table\":{},"
      "\"classes\":{},\"workers\":{},\"iterations\":{},\"results\":[",
      cpu_name(), today(), ONEBEAT_VERSION, options.tables, options.window, options.classes,
      options.workers, options.iterations);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Measured& row = rows[i];
    json += fmt::format(
        "{}{{\"requests\":{},\"context\":{},\"page\":{},\"us\":{:.3f},\"us_p10\":{:.3f},\"us_p90\":"
        "{:.3f},"
        "\"table_mb\":{:.3f},\"limit_us\":{},\"share\":{}}}",
        i == 0 ? "" : ",", row.requests, row.context, row.page_tokens, row.us, row.us_p10,
        row.us_p90, row.table_mb, row.copy_us > 0 ? fmt::format("{:.3f}", row.copy_us) : "null",
        row.copy_us > 0 ? fmt::format("{:.3f}", row.copy_us / row.us) : "null");
  }
  return json + "]}\n";
}

std::string to_text(const std::vector<Measured>& rows) {
  std::string text =
      fmt::format("{:>8} {:>8} {:>5} {:>10} {:>10} {:>10} {:>9} {:>10} {:>6}\n", "requests",
                  "context", "page", "us", "p10", "p90", "table_MB", "copy_us", "share");
  for (const Measured& row : rows) {
    text += fmt::format("{:>8} {:>8} {:>5} {:>10.2f} {:>10.2f} {:>10.2f} {:>9.2f} {:>10} {:>6}\n",
                        row.requests, row.context, row.page_tokens, row.us, row.us_p10, row.us_p90,
                        row.table_mb, row.copy_us > 0 ? fmt::format("{:.2f}", row.copy_us) : "-",
                        row.copy_us > 0 ? fmt::format("{:.2f}", row.copy_us / row.us) : "-");
  }
  return text;
}

Status run_prepare(PrepareOptions options) {
  if (options.device != "cpu") {
#ifdef ONEBEAT_WITH_CUDA
    const int device = cuda_device_number(options.device);
    const bool json = options.format == "json";
    return options.set == "isolated" ? run_isolated_prepare_on_cuda(device, json)
                                     : run_prepare_on_cuda(device, json);
#else
    return unsupported(
        "this onebeat was built without CUDA; build the preset release-cuda to use {}",
        options.device);
#endif
  }
  if (options.set == "isolated") {
    options.batches = {32};
    options.contexts = {8192};
    options.pages = {1};
    options.tables = "dense";
    options.classes = 0;
    options.iterations = 1000;
  }
  std::vector<Measured> rows;
  for (const std::int32_t context : options.contexts) {
    for (const std::int32_t page : options.pages) {
      for (const std::int32_t requests : options.batches) {
        ONEBEAT_ASSIGN_OR_RETURN(Measured row, measure(options, requests, context, page));
        rows.push_back(row);
      }
    }
  }
  const std::string report = options.format == "json" ? to_json(options, rows) : to_text(rows);
  std::fwrite(report.data(), 1, report.size(), stdout);
  return {};
}

}  // namespace

void add_bench_prepare_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<PrepareOptions>();
  CLI::App* command = bench.add_subcommand(
      "prepare", "Step preparation: lengths, sums, tables and the plans of all classes");
  command
      ->add_option("--device", options->device,
                   "cpu, or cuda:N for a fixed grid (the options on shapes are the CPU's)")
      ->check(check_bench_device)
      ->capture_default_str();
  command->add_option("--batch", options->batches, "Requests in the step")
      ->delimiter(',')
      ->check(CLI::Range(0, 65536))
      ->capture_default_str();
  command
      ->add_option("--context", options->contexts,
                   "Longest request; lengths are drawn from half of it")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--page", options->pages, "Tokens in a page, a power of two")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--tables", options->tables, "Materialised page tables")
      ->check(CLI::IsMember({"none", "live", "dense"}))
      ->capture_default_str();
  command->add_flag("--window-table", options->window, "Also a sliding-window table (with tables)");
  command
      ->add_option("--classes", options->classes,
                   "Attention classes, the second and later ones with windows")
      ->check(CLI::Range(0, kMaxStepClasses))
      ->capture_default_str();
  command->add_option("--workers", options->workers, "Workers of every class")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--iterations", options->iterations, "Calls that are timed")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command
      ->add_option("--set", options->set,
                   "isolated: 32 requests, page 1, context 8192, dense, no plans")
      ->check(CLI::IsMember({"isolated"}));
  command->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([options, &outcome] { outcome.finish(run_prepare(*options)); });
}

}  // namespace onebeat::cli
