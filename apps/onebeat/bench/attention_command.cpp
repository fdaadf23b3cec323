// SPDX-License-Identifier: Apache-2.0
// `onebeat bench attention`: decode attention of one layer, on the CPU or on a GPU.
#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "bench/attention_cpu.h"
#include "bench/report.h"
#include "commands.h"
#include "length_list.h"
#include "onebeat/plan.h"
#include "onebeat/thread_pool.h"
#include "output.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/attention_cuda.h"
#include "bench/prefill_cuda.h"
#endif

namespace onebeat::cli {
namespace {

struct AttentionBenchOptions {
  std::vector<std::string> presets = {"uniform", "even", "skewed"};
  std::string lens;
  std::string heads = "32/8";
  std::int32_t head_dim = 128;
  std::int32_t page = 16;
  std::int32_t tile = 64;
  std::int32_t workers = 0;
  std::int32_t least_worker_tokens = 0;
  std::int32_t query_tokens = 1;
  std::int32_t invariant_chunk = 0;
  bool batch_invariant = false;
  std::string kv_type = "bf16";
  std::string layout = "auto";
  std::string device = "cpu";
  std::string set;
  bool no_overlap = false;
  bool prefill = false;
  std::int32_t prefix = 0;
  bool pages_in_order = false;
  int threads = ThreadPool::available_processors();
  std::string variant;
  std::int32_t passes = 15;
  std::string format = "text";
  std::string output;
};

/// The same for --prefill.
void refuse_what_prefill_would_ignore(const AttentionBenchOptions& given) {
  const AttentionBenchOptions unset;
  const auto refuse = [](bool is_given, const char* option, const char* why) {
    if (is_given) throw CLI::ValidationError(option, why);
  };
  if (!given.prefill) {
    refuse(given.prefix != 0, "--prefix", "goes with --prefill");
    return;
  }
  refuse(given.device == "cpu", "--prefill", "for a GPU only; give --device cuda:N");
  refuse(!given.set.empty(), "--set", "not with --prefill");
  refuse(given.query_tokens != unset.query_tokens, "--query-tokens",
         "not with --prefill: every token of --lens is a query token");
  refuse(given.no_overlap, "--no-overlap", "not with --prefill: launches are ordinary ones");
  refuse(given.workers != 0, "--workers", "not with --prefill, which has no plan");
  refuse(given.least_worker_tokens != 0, "--least-worker-tokens",
         "not with --prefill, which has no plan");
  refuse(given.lens.empty() && given.prefix != 0, "--prefix",
         "goes with --lens: the default shapes have their own");
}

/// Options that the others leave without any effect: figures must be of what was asked for.
void refuse_what_would_be_ignored(const AttentionBenchOptions& given) {
  refuse_what_prefill_would_ignore(given);
  const AttentionBenchOptions unset;
  const auto refuse = [](bool is_given, const char* option, const char* why) {
    if (is_given) throw CLI::ValidationError(option, why);
  };
  refuse(!given.lens.empty() && given.presets != unset.presets, "--preset", "not with --lens");
  refuse(!given.lens.empty() && !given.set.empty(), "--set", "not with --lens");
  if (given.device == "cpu") {
    constexpr const char* kWhy = "for a GPU only; give --device cuda:N";
    refuse(!given.set.empty(), "--set", kWhy);
    refuse(given.least_worker_tokens != 0, "--least-worker-tokens", kWhy);
    refuse(given.no_overlap, "--no-overlap", kWhy);
    refuse(given.batch_invariant, "--batch-invariant",
           "for a GPU only; on the CPU, --invariant-chunk measures the batch-invariant mode");
    return;
  }
  constexpr const char* kWhy = "for the CPU only";
  refuse(given.presets != unset.presets, "--preset", "for the CPU only; a GPU takes --set");
  refuse(given.tile != unset.tile, "--tile", "for the CPU only; a GPU kernel has its own");
  refuse(given.kv_type == "f32", "--kv-type",
         "f32 is for the CPU only; a GPU takes bf16, f16 or fp8");
  refuse(given.invariant_chunk != 0 && !given.batch_invariant, "--invariant-chunk",
         "for the CPU only, or beside --batch-invariant");
  refuse(given.pages_in_order, "--pages-in-order", kWhy);
  refuse(given.threads != unset.threads, "--threads", kWhy);
  refuse(given.passes != unset.passes, "--passes", kWhy);
  if (!given.lens.empty()) return;
  constexpr const char* kSet = "goes with --lens: the shapes of a set have their own";
  refuse(given.heads != unset.heads, "--heads", kSet);
  refuse(given.head_dim != unset.head_dim, "--head-dim", kSet);
  refuse(given.page != unset.page, "--page", kSet);
  refuse(given.query_tokens != unset.query_tokens, "--query-tokens", kSet);
}

KvType kv_type_of(const AttentionBenchOptions& options) {
  return options.kv_type == "f32"   ? KvType::kF32
         : options.kv_type == "f16" ? KvType::kF16
         : options.kv_type == "fp8" ? KvType::kF8E4M3
                                    : KvType::kBF16;
}

Result<std::string> measure_on_cpu(const AttentionBenchOptions& options,
                                   std::vector<std::int32_t> lens, HeadCounts heads) {
  CpuAttentionBenchOptions cpu;
  cpu.presets = options.presets;
  cpu.lens = std::move(lens);
  AttentionGeometry& g = cpu.geometry;
  g.num_heads = heads.num_heads;
  g.num_kv_heads = heads.num_kv_heads;
  g.head_dim = g.head_dim_v = options.head_dim;
  g.page_tokens = options.page;
  g.tile_tokens = options.tile;
  g.workers = options.workers > 0 ? options.workers : 8 * options.threads;
  g.max_query_tokens = options.query_tokens;
  g.invariant_chunk_tokens = options.invariant_chunk;
  g.kv_type = kv_type_of(options);
  cpu.threads = options.threads;
  cpu.layout = options.layout == "auto" ? "runs" : options.layout;
  cpu.pages_in_order = options.pages_in_order;
  cpu.variant = options.variant;
  cpu.passes = options.passes;
  cpu.format = options.format;
  return run_cpu_attention_bench(cpu);
}

#ifdef ONEBEAT_WITH_CUDA
Result<std::string> measure_on_cuda(const AttentionBenchOptions& options,
                                    std::vector<std::int32_t> lens, HeadCounts heads) {
  if (options.prefill) {
    CudaPrefillBenchOptions prefill;
    prefill.device = cuda_device_number(options.device);
    prefill.lens = std::move(lens);
    prefill.heads = heads.num_heads;
    prefill.kv_heads = heads.num_kv_heads;
    prefill.head_dim = options.head_dim;
    prefill.page = options.page;
    prefill.prefix = options.prefix;
    prefill.layout = options.layout == "auto" ? "nhd" : options.layout;
    prefill.variants = CLI::detail::split(options.variant, ',');
    prefill.format = options.format;
    return run_cuda_prefill_bench(prefill);
  }
  CudaAttentionBenchOptions cuda;
  cuda.device = cuda_device_number(options.device);
  if (!lens.empty()) {
    cuda.set = "lens";
  } else if (!options.set.empty()) {
    cuda.set = options.set;
  }
  cuda.lens = std::move(lens);
  cuda.heads = heads.num_heads;
  cuda.kv_heads = heads.num_kv_heads;
  cuda.head_dim = options.head_dim;
  cuda.page = options.page;
  cuda.kv_type = kv_type_of(options);
  cuda.query_tokens = options.query_tokens;
  cuda.layout = options.layout == "auto" ? "nhd" : options.layout;  // as the stored figures
  cuda.variants = CLI::detail::split(options.variant, ',');
  cuda.workers = options.workers;
  cuda.least_worker_tokens = options.least_worker_tokens;
  cuda.no_overlap = options.no_overlap;
  cuda.batch_invariant = options.batch_invariant;
  cuda.invariant_chunk = options.invariant_chunk;
  cuda.format = options.format;
  return run_cuda_attention_bench(cuda);
}
#else
Result<std::string> measure_on_cuda(const AttentionBenchOptions& options,
                                    const std::vector<std::int32_t>& /*lens*/,
                                    HeadCounts /*heads*/) {
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
}
#endif

Status run_bench_attention(const AttentionBenchOptions& options) {
  std::vector<std::int32_t> lens;
  if (!options.lens.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(lens, parse_length_list(options.lens));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const HeadCounts heads, parse_heads(options.heads));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string report,
                           options.device == "cpu"
                               ? measure_on_cpu(options, std::move(lens), heads)
                               : measure_on_cuda(options, std::move(lens), heads));
  return write_output(options.output, report);
}

}  // namespace

void add_bench_attention_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<AttentionBenchOptions>();
  CLI::App* command = bench.add_subcommand(
      "attention", "Decode attention of one layer, beside plain reads of memory");
  const auto add = [command](const char* name, auto& value, const char* description) {
    return command->add_option(name, value, description)->capture_default_str();
  };
  std::vector<std::string> names;
  std::string described = "CPU: cases that take turns:";
  for (const AttentionPreset& preset : attention_presets()) {
    names.emplace_back(preset.name);
    described +=
        fmt::format(" {} ({}{})", preset.name, preset.lens,
                    preset.window_left < 0 ? "" : fmt::format(", window {}", preset.window_left));
  }
  command->add_option("--preset", options->presets, described)
      ->delimiter(',')
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  add("--lens", options->lens,
      "KV tokens of each request, instead of --preset or --set: 131072,512x31");
  add("--heads", options->heads, "Query heads / KV heads");
  add("--head-dim", options->head_dim, "Elements of a head");
  add("--page", options->page, "Tokens in a page");
  add("--tile", options->tile, "CPU: tokens in a tile");
  add("--workers", options->workers,
      "Workers of the plan; 0: 8 for each thread, or as tuned on a GPU")
      ->check(CLI::Range(0, 4096));
  add("--least-worker-tokens", options->least_worker_tokens,
      "GPU: tokens below which no worker gets a part of its own; 0: as tuned")
      ->check(CLI::Range(0, 1 << 20));
  add("--query-tokens", options->query_tokens, "Query tokens of each request")
      ->check(CLI::Range(1, 16));
  add("--invariant-chunk", options->invariant_chunk,
      "Batch-invariant mode, cuts only at multiples of this; 0: off, or as tuned on a GPU");
  add("--kv-type", options->kv_type,
      "bf16, f16 (on a GPU also of queries and outputs) or fp8 (e4m3); on a CPU also f32")
      ->check(CLI::IsMember({"bf16", "f16", "f32", "fp8"}));
  add("--layout", options->layout,
      "runs: a head's tokens of a page are contiguous; nhd: a token's heads are; auto: runs on a "
      "CPU, nhd on a GPU")
      ->check(CLI::IsMember({"auto", "runs", "nhd"}));
  add("--device", options->device, "cpu or cuda:N")->check(check_bench_device);
  command
      ->add_option("--set", options->set,
                   "GPU: served (beside stored figures of other libraries; the default), irregular "
                   "shapes, verify (several query tokens), rows (1 to 64 query rows of a KV head) "
                   "or heads (all head sizes on the same bytes)")
      ->check(CLI::IsMember({"served", "irregular", "verify", "rows", "heads"}));
  command->add_flag("--prefill", options->prefill,
                    "GPU: attention of prompts; --lens are query tokens, all of them new");
  add("--prefix", options->prefix, "With --prefill: KV tokens of each request before its prompt")
      ->check(CLI::Range(0, 1 << 20));
  command->add_flag("--batch-invariant", options->batch_invariant,
                    "GPU: every shape also in batch-invariant mode, beside the normal one");
  command->add_flag("--no-overlap", options->no_overlap, "GPU: ordinary launches");
  command->add_flag("--pages-in-order", options->pages_in_order,
                    "CPU: pages in rising order instead of a random one");
  add("--threads", options->threads, "CPU: threads")->check(CLI::Range(1, ThreadPool::kMaxThreads));
  add("--variant", options->variant,
      "Force an instruction set of the CPU (portable, avx2, avx512, avx512_amx), or a GPU kernel, "
      "a "
      "family of them, or several in turns: mma,wgmma; empty: the best");
  add("--passes", options->passes, "CPU: passes over all cases")->check(CLI::Range(1, 100000));
  add("--format", options->format, "text or json")->check(CLI::IsMember({"text", "json"}));
  add("-o,--output", options->output, "File to write instead of standard output");
  command->callback([options, &outcome] {
    refuse_what_would_be_ignored(*options);
    outcome.finish(run_bench_attention(*options));
  });
}

}  // namespace onebeat::cli
