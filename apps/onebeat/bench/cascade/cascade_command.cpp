// SPDX-License-Identifier: Apache-2.0
// `onebeat bench cascade`: requests that share a prefix, with and without reading it once.
#include <memory>
#include <string>

#include "base/error.h"
#include "bench/report.h"
#include "commands.h"
#include "length_list.h"
#include "output.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/cascade/cascade_cuda.h"
#endif

namespace onebeat::cli {
namespace {

struct CascadeOptions {
  std::string device = "cuda:0";
  std::int32_t requests = 0;
  std::int32_t prefix = 2048;
  std::int32_t own = 128;
  std::string heads = "32/8";
  std::int32_t head_dim = 128;
  std::int32_t page = 64;
  std::int32_t least_prefix_tokens = 0;
  std::string format = "text";
  std::string output;
};

Status run_bench_cascade(const CascadeOptions& options) {
  if (options.device == "cpu") {
    return unsupported("cascade compares launches of a GPU; give --device cuda:N");
  }
#ifdef ONEBEAT_WITH_CUDA
  CascadeBenchOptions cuda;
  cuda.device = cuda_device_number(options.device);
  cuda.least_prefix_tokens = options.least_prefix_tokens;
  cuda.json = options.format == "json";
  if (options.requests > 0) {
    ONEBEAT_ASSIGN_OR_RETURN(const HeadCounts heads, parse_heads(options.heads));
    cuda.shapes = {{heads.num_heads, heads.num_kv_heads, options.head_dim, options.page,
                    options.requests, options.prefix, options.own}};
  } else {
    cuda.shapes = {{32, 8, 128, 64, 64, 2048, 128},  {32, 8, 128, 64, 64, 2048, 512},
                   {32, 8, 128, 16, 64, 2048, 128},  {64, 8, 64, 64, 64, 2048, 128},
                   {16, 2, 128, 64, 64, 2048, 128},  {32, 8, 128, 64, 4, 2048, 128},
                   {32, 8, 128, 64, 16, 512, 128},   {32, 8, 128, 64, 16, 2048, 128},
                   {32, 8, 128, 64, 256, 2048, 128}, {32, 8, 128, 64, 32, 8192, 256}};
  }
  ONEBEAT_ASSIGN_OR_RETURN(const std::string report, run_cascade_bench(cuda));
  return write_output(options.output, report);
#else
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
#endif
}

}  // namespace

void add_bench_cascade_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<CascadeOptions>();
  CLI::App* command = bench.add_subcommand(
      "cascade", "GPU: attention of requests that share a prefix, read once and for each of them");
  const auto add = [command](const char* name, auto& value, const char* description) {
    return command->add_option(name, value, description)->capture_default_str();
  };
  add("--device", options->device, "cuda:N")->check(check_bench_device);
  auto* requests = add("--requests", options->requests,
                       "Requests that share; 0: several shapes, 64 x 2,048 first")
                       ->check(CLI::Range(0, 1024));
  add("--prefix", options->prefix, "Tokens that they share")
      ->check(CLI::Range(1, 1 << 17))
      ->needs(requests);
  add("--own", options->own, "Tokens of each behind them")
      ->check(CLI::Range(1, 1 << 17))
      ->needs(requests);
  add("--heads", options->heads, "Query heads / KV heads")->needs(requests);
  add("--head-dim", options->head_dim, "Elements of a head")->needs(requests);
  add("--page", options->page, "Tokens in a page; divides --prefix")->needs(requests);
  add("--least-prefix-tokens", options->least_prefix_tokens,
      "Tokens of the prefix below which no worker gets a part of its own; 0: as tuned")
      ->check(CLI::Range(0, 1 << 20));
  add("--format", options->format, "text or json")->check(CLI::IsMember({"text", "json"}));
  add("-o,--output", options->output, "File to write instead of standard output");
  command->callback([options, &outcome] { outcome.finish(run_bench_cascade(*options)); });
}

}  // namespace onebeat::cli
