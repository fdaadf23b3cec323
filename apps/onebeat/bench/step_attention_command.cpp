// SPDX-License-Identifier: Apache-2.0
// `onebeat bench step-attention`: the attention of a whole decode step on a GPU, planned once in
// the step's graph, once before it, and once for each layer.
#include <memory>
#include <string>

#include "base/error.h"
#include "bench/report.h"
#include "commands.h"
#include "length_list.h"
#include "output.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/step_attention_cuda.h"
#endif

namespace onebeat::cli {
namespace {

struct StepAttentionBenchOptions {
  std::string device = "cuda:0";
  std::int32_t layers = 32;
  std::string set = "served";
  std::string lens;
  std::string heads = "32/8";
  std::int32_t head_dim = 128;
  std::int32_t page = 64;
  std::string layout = "nhd";
  std::string format = "text";
  std::string output;
};

Status run_bench_step_attention(const StepAttentionBenchOptions& options) {
  if (options.device == "cpu") {
    return unsupported(
        "step-attention compares launches of a GPU; `onebeat bench prepare` and "
        "`bench attention` measure the CPU");
  }
#ifdef ONEBEAT_WITH_CUDA
  StepAttentionOptions cuda;
  cuda.device = cuda_device_number(options.device);
  cuda.layers = options.layers;
  cuda.set = options.set;
  if (!options.lens.empty()) {
    cuda.set = "lens";
    ONEBEAT_ASSIGN_OR_RETURN(cuda.lens, parse_length_list(options.lens));
    ONEBEAT_ASSIGN_OR_RETURN(const HeadCounts heads, parse_heads(options.heads));
    cuda.heads = heads.num_heads;
    cuda.kv_heads = heads.num_kv_heads;
    cuda.head_dim = options.head_dim;
    cuda.page = options.page;
  }
  cuda.layout = options.layout;
  cuda.json = options.format == "json";
  ONEBEAT_ASSIGN_OR_RETURN(const std::string report, run_step_attention_bench(cuda));
  return write_output(options.output, report);
#else
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
#endif
}

}  // namespace

void add_bench_step_attention_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<StepAttentionBenchOptions>();
  CLI::App* command = bench.add_subcommand(
      "step-attention",
      "GPU: prepare_step and the attention of all layers, planned once or for each layer");
  const auto add = [command](const char* name, auto& value, const char* description) {
    return command->add_option(name, value, description)->capture_default_str();
  };
  add("--device", options->device, "cuda:N")->check(check_bench_device);
  add("--layers", options->layers, "Attention layers of the step")->check(CLI::Range(1, 256));
  add("--set", options->set, "served (beside stored figures of other libraries) or irregular")
      ->check(CLI::IsMember({"served", "irregular"}));
  add("--lens", options->lens, "KV tokens of each request, instead of a set: 131072,512x31");
  add("--heads", options->heads, "Query heads / KV heads");
  add("--head-dim", options->head_dim, "Elements of a head");
  add("--page", options->page, "Tokens in a page");
  add("--layout", options->layout,
      "runs: a head's tokens of a page are contiguous; nhd: a token's heads are")
      ->check(CLI::IsMember({"runs", "nhd"}));
  add("--format", options->format, "text or json")->check(CLI::IsMember({"text", "json"}));
  add("-o,--output", options->output, "File to write instead of standard output");
  command->callback([options, &outcome] { outcome.finish(run_bench_step_attention(*options)); });
}

}  // namespace onebeat::cli
