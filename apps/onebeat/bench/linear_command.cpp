// SPDX-License-Identifier: Apache-2.0
// `onebeat bench linear`: the matrix products of a decode step on a GPU, beside the time that
// reading their weights takes.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "bench/report.h"
#include "commands.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/linear_cuda.h"
#endif

namespace onebeat::cli {
namespace {

struct LinearOptions {
  std::string device = "cuda:0";
  std::string model = "llama-3.1-8b";
  std::vector<std::int32_t> rows = {1, 4, 16, 32, 64};
  std::string variant;
  std::int32_t trigger = -1;
  bool batch_invariant = false;
  bool no_overlap = false;
  std::string format = "text";
};

#ifdef ONEBEAT_WITH_CUDA
Status run_linear(const LinearOptions& options) {
  LinearBenchOptions bench;
  bench.device = cuda_device_number(options.device);
  bench.model = options.model;
  bench.rows = options.rows;
  bench.variants = CLI::detail::split(options.variant, ',');
  if (bench.variants.empty()) bench.variants = {""};
  bench.batch_invariant = options.batch_invariant;
  bench.no_overlap = options.no_overlap;
  bench.trigger = options.trigger;
  bench.format = options.format;
  ONEBEAT_ASSIGN_OR_RETURN(const std::string report, run_linear_bench(bench));
  fmt::print("{}", report);
  return {};
}
#else
Status run_linear(const LinearOptions& options) {
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
}
#endif

}  // namespace

void add_bench_linear_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<LinearOptions>();
  CLI::App* command = bench.add_subcommand(
      "linear", "Matrix products of a decode step on a GPU, beside reading their weights");
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command->add_option(name, value, help)->capture_default_str();
  };
  add("--device", options->device, "cuda:N")->check([](const std::string& text) {
    return text == "cpu" ? std::string("bench linear measures a GPU: cuda:N")
                         : check_bench_device(text);
  });
  add("--model-shape", options->model,
      "llama-3.1-8b, llama-3.2-1b, qwen3-0.6b or qwen3-8b: shapes, with random weights");
  add("--rows", options->rows, "Rows of activations (tokens of a step)")
      ->delimiter(',')
      ->check(CLI::Range(1, 64));
  add("--variant", options->variant,
      "Force kernels for all products, several in turns: mma_r32,wgmma_r128/4 (a family / its "
      "splits of K); empty: the best for each");
  add("--trigger", options->trigger, "Loads left when the next kernel may start; -1: as measured")
      ->check(CLI::Range(-1, 1 << 20));
  command->add_flag("--batch-invariant", options->batch_invariant,
                    "One order of summation, whatever the number of rows");
  command->add_flag("--no-overlap", options->no_overlap, "Ordinary launches");
  add("--format", options->format, "text or json")->check(CLI::IsMember({"text", "json"}));
  command->callback([options, &outcome] { outcome.finish(run_linear(*options)); });
}

}  // namespace onebeat::cli
