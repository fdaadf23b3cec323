// SPDX-License-Identifier: Apache-2.0
// `onebeat bench attention`: decode attention on the CPU, beside the speed at which the same
// threads merely read the same memory. Reads and cases take turns, so that whatever else the
// machine does falls on all of them alike.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "commands.h"
#include "device/host_buffer.h"
#include "device/machine_facts.h"
#include "length_list.h"
#include "onebeat/attention.h"
#include "onebeat/plan.h"
#include "onebeat/thread_pool.h"
#include "output.h"
#ifdef ONEBEAT_WITH_CUDA
#include "bench/attention_cuda.h"
#endif

namespace onebeat::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Preset {
  const char* name;
  const char* lens;
  std::int32_t window_left;
};

constexpr Preset kPresets[] = {
    {"uniform", "4096x32", -1}, {"even", "4592x32", -1}, {"skewed", "131072,512x31", -1},
    {"single", "131072", -1},   {"short", "512x64", -1}, {"window", "32768x32", 4095},
};

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
  std::string kv_type = "bf16";
  std::string layout = "auto";
  std::string device = "cpu";
  std::string set = "served";
  bool no_overlap = false;
  bool pages_in_order = false;
  int threads = ThreadPool::available_processors();
  std::string variant;
  std::int32_t passes = 15;
  std::string format = "text";
  std::string output;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

std::string date_of_today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

/// Sums memory; `ahead` bytes before they are needed lines are asked for.
std::uint64_t sum(const std::uint64_t* begin, const std::uint64_t* end, std::int64_t ahead) {
  std::uint64_t sums[8] = {};
  for (const std::uint64_t* at = begin; at != end; at += 8) {
    __builtin_prefetch(reinterpret_cast<const char*>(at) + ahead);
    for (int lane = 0; lane < 8; ++lane) sums[lane] += at[lane];
  }
  return std::accumulate(std::begin(sums), std::end(sums), std::uint64_t{0});
}

/// The limit: all threads read some of the memory that attention reads. Of several distances to
/// fetch ahead the best is found first.
class ReadLimit {
 public:
  ReadLimit(ThreadPool& pool, std::span<const std::byte> memory) : pool_(pool), memory_(memory) {
    double best = 0;
    for (const std::int64_t ahead : {0, 1024, 4096, 16384}) {
      ahead_ = ahead;
      const double speed = std::max(pass(), pass());
      if (speed > best) {
        best = speed;
        best_ahead_ = ahead;
      }
    }
    ahead_ = best_ahead_;
  }

  /// Bytes a second of one pass over at most 512 MiB, another part each time.
  double pass() {
    constexpr std::int64_t kGrain = 1 << 20;
    const auto size = static_cast<std::int64_t>(memory_.size()) / kGrain * kGrain;
    const std::int64_t bytes = std::min<std::int64_t>(size, std::int64_t{512} << 20);
    if (at_ + bytes > size) at_ = 0;
    const auto* words = reinterpret_cast<const std::uint64_t*>(memory_.data() + at_);
    at_ += bytes;
    const auto begin = Clock::now();
    pool_.parallel_for(bytes / 8, kGrain / 8, [&](std::int64_t first, std::int64_t last, int) {
      sum_.fetch_add(sum(words + first, words + last, ahead_), std::memory_order_relaxed);
    });
    return static_cast<double>(bytes) / seconds_since(begin);
  }

 private:
  ThreadPool& pool_;
  std::span<const std::byte> memory_;
  std::int64_t at_ = 0;
  std::int64_t ahead_ = 0;
  std::int64_t best_ahead_ = 0;
  std::atomic<std::uint64_t> sum_{0};
};

/// The memory that all cases share: a pool of pages for several layers, more than caches hold.
struct Memory {
  HostBuffer buffer;
  std::int64_t pages = 0;  ///< Of K and of V each.

  /// Small random bf16 or fp16 numbers, or fp32 ones made of two of them.
  void fill(ThreadPool& pool) const {
    auto* words = reinterpret_cast<std::uint16_t*>(buffer.data());
    const auto count = static_cast<std::int64_t>(buffer.size() / 2);
    pool.parallel_for(count, 1 << 20, [&](std::int64_t begin, std::int64_t end, int) {
      std::uint32_t state = static_cast<std::uint32_t>(begin) * 2654435761u + 1;
      for (std::int64_t i = begin; i < end; ++i) {
        state = state * 1664525u + 1013904223u;
        words[i] =
            static_cast<std::uint16_t>(0x3c00u | (state >> 31 << 15) | (state >> 16 & 0x7fu));
      }
    });
  }
};

struct alignas(16) Block {
  std::byte bytes[16];
};

/// One batch with its plan, ready to run layer after layer.
class Case {
 public:
  Case(std::string name_in, std::vector<std::int32_t> lens_in)
      : name(std::move(name_in)), lens(std::move(lens_in)) {}

  Status prepare(const AttentionGeometry& of_case, std::int32_t query_tokens) {
    geometry = of_case;
    const std::int32_t longest = *std::max_element(lens.begin(), lens.end());
    const auto requests = static_cast<std::int32_t>(lens.size());
    ONEBEAT_ASSIGN_OR_RETURN(const Planner planner,
                             Planner::create(geometry, {}, {requests, std::max(longest, 1)}));
    plan_.resize(planner.plan_bytes() / sizeof(Block) + 1);
    ONEBEAT_ASSIGN_OR_RETURN(const PlanView made,
                             planner.make_plan({lens}, std::as_writable_bytes(std::span(plan_))));
    view_ = std::make_unique<PlanView>(made);
    balance = balance_of(made, planner.cost_model()).balance;
    const ScratchSize size = planner.scratch_size();
    outputs_.resize(static_cast<std::size_t>(size.output_floats));
    stats_.resize(static_cast<std::size_t>(size.stats_floats));
    counters_.resize(static_cast<std::size_t>(size.counters));
    const std::int64_t tokens = std::int64_t{requests} * query_tokens;
    q_.resize(static_cast<std::size_t>(tokens * geometry.num_heads * geometry.head_dim));
    out_.resize(static_cast<std::size_t>(tokens * geometry.num_heads * geometry.head_dim_v));
    std::mt19937 random(1);
    for (float& x : q_) x = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    for (const RequestRecord& record : made.requests().first(lens.size()))
      kv_tokens += record.len - record.first;
    kv_bytes = kv_tokens * geometry.num_kv_heads * (geometry.head_dim + geometry.head_dim_v) *
               size_of(geometry.kv_type);
    launch_.q =
        dense_head_rows<const float>(q_.data(), tokens, geometry.num_heads, geometry.head_dim);
    launch_.out =
        dense_head_rows<float>(out_.data(), tokens, geometry.num_heads, geometry.head_dim_v);
    launch_.score.scale = 1.0f / std::sqrt(static_cast<float>(geometry.head_dim));
    launch_.report = &report;
    return {};
  }

  [[nodiscard]] std::int64_t pages() const {
    std::int64_t count = 0;
    for (const std::int32_t len : lens)
      count += (len + geometry.page_tokens - 1) / geometry.page_tokens;
    return count;
  }

  /// Lays the requests over pages of a pool that holds `layers` layers one after the other.
  void place(const Memory& memory, KvLayout layout, bool in_order, std::string_view variant) {
    layers_ = std::max<std::int64_t>(1, memory.pages / pages());
    std::vector<std::int32_t> ids(static_cast<std::size_t>(pages()));
    std::iota(ids.begin(), ids.end(), 0);
    if (!in_order) std::shuffle(ids.begin(), ids.end(), std::mt19937(2));
    const std::int32_t longest = *std::max_element(lens.begin(), lens.end());
    const std::int64_t columns = (longest + geometry.page_tokens - 1) / geometry.page_tokens;
    table_.assign(lens.size() * static_cast<std::size_t>(columns), -1);
    std::size_t next = 0;
    for (std::size_t r = 0; r < lens.size(); ++r) {
      for (std::int64_t p = 0; p * geometry.page_tokens < lens[r]; ++p) {
        table_[r * static_cast<std::size_t>(columns) + static_cast<std::size_t>(p)] = ids[next++];
      }
    }
    launch_.pages = {table_.data(), columns, static_cast<std::int32_t>(lens.size()),
                     static_cast<std::int32_t>(columns), nullptr};
    launch_.kv = make_kv_pool(geometry, layout, pages(), nullptr, nullptr);
    launch_.variant = variant;
    memory_ = &memory;
  }

  /// Seconds of one layer; the next call takes the next layer's memory.
  Result<double> run(ThreadPool& pool) {
    const std::int64_t element = size_of(geometry.kv_type);
    const std::int64_t first = layer_ * pages();
    layer_ = (layer_ + 1) % layers_;
    std::byte* v_begin =
        memory_->buffer.data() + memory_->pages * launch_.kv.k_page_stride * element;
    launch_.kv.k = memory_->buffer.data() + first * launch_.kv.k_page_stride * element;
    launch_.kv.v = v_begin + first * launch_.kv.v_page_stride * element;
    const auto begin = Clock::now();
    const Status status = decode_attention(*view_, launch_, {outputs_, stats_, counters_}, pool);
    const double spent = seconds_since(begin);
    if (!status.ok()) return status;
    return spent;
  }

  std::string name;
  std::vector<std::int32_t> lens;
  AttentionGeometry geometry;
  std::int64_t kv_tokens = 0;
  std::int64_t kv_bytes = 0;
  double balance = 1;
  AttentionReport report;
  std::vector<double> seconds;
  std::vector<double> shares;  ///< Of the read before it, pass by pass.

 private:
  std::vector<Block> plan_;
  std::unique_ptr<PlanView> view_;
  std::vector<float> outputs_, stats_, q_, out_;
  std::vector<std::uint32_t> counters_;
  std::vector<std::int32_t> table_;
  AttentionLaunch launch_;
  const Memory* memory_ = nullptr;
  std::int64_t layers_ = 1;
  std::int64_t layer_ = 0;
};

struct Figures {
  double us = 0, us_best = 0, us_p10 = 0, us_p90 = 0, gb_s = 0, share = 0, share_best = 0;
};

Figures figures_of(const Case& of_case, const std::vector<double>& reads) {
  Figures f;
  const auto bytes = static_cast<double>(of_case.kv_bytes);
  f.us = percentile(of_case.seconds, 0.5) * 1e6;
  f.us_best = percentile(of_case.seconds, 0) * 1e6;
  f.us_p10 = percentile(of_case.seconds, 0.1) * 1e6;
  f.us_p90 = percentile(of_case.seconds, 0.9) * 1e6;
  f.gb_s = bytes / f.us * 1e-3;
  f.share = percentile(of_case.shares, 0.5);
  f.share_best = bytes / f.us_best * 1e6 / percentile(reads, 1);
  return f;
}

std::string to_json(const AttentionBenchOptions& options,
                    const std::vector<std::unique_ptr<Case>>& cases,
                    const std::vector<double>& reads) {
  const AttentionGeometry& g = cases.front()->geometry;
  std::string json = fmt::format(
      "{{\"bench\":\"attention\",\"device\":\"cpu\",\"cpu\":\"{}\",\"threads\":{},\"date\":\"{}\","
      "\"version\":\"{}\","
      "\"limit\":\"reading the same memory with the same threads, in turns with the cases\","
      "\"limit_gb_s\":{:.2f},\"limit_gb_s_best\":{:.2f},\"passes\":{},\"heads\":{},\"kv_heads\":{},"
      "\"head_dim\":{},"
      "\"page\":{},\"tile\":{},\"workers\":{},\"query_tokens\":{},\"invariant_chunk\":{},\"kv_"
      "type\":\"{}\","
      "\"layout\":\"{}\",\"pages_in_order\":{},\"variant\":\"{}\",\"results\":[",
      cpu_facts().model, options.threads, date_of_today(), ONEBEAT_VERSION,
      percentile(reads, 0.5) * 1e-9, percentile(reads, 1) * 1e-9, options.passes, g.num_heads,
      g.num_kv_heads, g.head_dim, g.page_tokens, g.tile_tokens, g.workers, g.max_query_tokens,
      g.invariant_chunk_tokens, options.kv_type, options.layout, options.pages_in_order,
      cases.front()->report.variant);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& c = *cases[i];
    const Figures f = figures_of(c, reads);
    json += fmt::format(
        "{}{{\"case\":\"{}\",\"requests\":{},\"kv_tokens\":{},\"kv_bytes\":{},\"window_left\":{},"
        "\"us\":{:.1f},"
        "\"us_best\":{:.1f},\"us_p10\":{:.1f},\"us_p90\":{:.1f},\"gb_s\":{:.2f},\"share\":{:.3f},"
        "\"share_best\":{:.3f},\"balance\":{:.4f}}}",
        i == 0 ? "" : ",", c.name, c.lens.size(), c.kv_tokens, c.kv_bytes, c.geometry.window_left,
        f.us, f.us_best, f.us_p10, f.us_p90, f.gb_s, f.share, f.share_best, c.balance);
  }
  return json + "]}\n";
}

std::string to_text(const std::vector<std::unique_ptr<Case>>& cases,
                    const std::vector<double>& reads) {
  std::string text = fmt::format(
      "memory reads at {:.2f} GB/s (median; best {:.2f}); attention runs '{}'\n",
      percentile(reads, 0.5) * 1e-9, percentile(reads, 1) * 1e-9, cases.front()->report.variant);
  text += fmt::format("{:<10} {:>9} {:>9} {:>10} {:>10} {:>10} {:>7} {:>6} {:>10}\n", "case",
                      "requests", "KV MB", "us", "best", "p90", "GB/s", "share", "best share");
  for (const auto& c : cases) {
    const Figures f = figures_of(*c, reads);
    text += fmt::format(
        "{:<10} {:>9} {:>9.1f} {:>10.0f} {:>10.0f} {:>10.0f} {:>7.2f} {:>6.3f} {:>10.3f}\n",
        c->name, c->lens.size(), static_cast<double>(c->kv_bytes) * 1e-6, f.us, f.us_best, f.us_p90,
        f.gb_s, f.share, f.share_best);
  }
  return text;
}

Result<std::vector<std::unique_ptr<Case>>> make_cases(const AttentionBenchOptions& options) {
  AttentionGeometry geometry;
  ONEBEAT_ASSIGN_OR_RETURN(const HeadCounts heads, parse_heads(options.heads));
  geometry.num_heads = heads.num_heads;
  geometry.num_kv_heads = heads.num_kv_heads;
  geometry.head_dim = geometry.head_dim_v = options.head_dim;
  geometry.page_tokens = options.page;
  geometry.tile_tokens = options.tile;
  geometry.workers = options.workers > 0 ? options.workers : 8 * options.threads;
  geometry.max_query_tokens = options.query_tokens;
  geometry.invariant_chunk_tokens = options.invariant_chunk;
  geometry.kv_type = options.kv_type == "f32"   ? KvType::kF32
                     : options.kv_type == "f16" ? KvType::kF16
                                                : KvType::kBF16;
  std::vector<std::unique_ptr<Case>> cases;
  const auto add = [&](const char* name, std::string_view text, std::int32_t window) -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(std::vector<std::int32_t> lens, parse_length_list(text));
    geometry.window_left = window;
    cases.push_back(std::make_unique<Case>(name, std::move(lens)));
    return cases.back()->prepare(geometry, options.query_tokens);
  };
  if (!options.lens.empty()) {
    ONEBEAT_RETURN_IF_ERROR(add("lens", options.lens, -1));
    return cases;
  }
  for (const std::string& name : options.presets) {
    for (const Preset& preset : kPresets) {
      if (name == preset.name)
        ONEBEAT_RETURN_IF_ERROR(add(preset.name, preset.lens, preset.window_left));
    }
  }
  return cases;
}

Result<Memory> make_memory(const std::vector<std::unique_ptr<Case>>& cases, ThreadPool& pool) {
  // More than any cache, and room for every case at least once.
  const AttentionGeometry& g = cases.front()->geometry;
  const std::int64_t page_bytes = std::int64_t{g.page_tokens} * g.num_kv_heads *
                                  (g.head_dim + g.head_dim_v) * size_of(g.kv_type);
  Memory memory;
  memory.pages = (std::int64_t{2} << 30) / page_bytes;
  for (const auto& c : cases) memory.pages = std::max(memory.pages, c->pages());
  ONEBEAT_ASSIGN_OR_RETURN(memory.buffer,
                           HostBuffer::create(static_cast<std::size_t>(memory.pages * page_bytes)));
  memory.fill(pool);
  return memory;
}

Status run_on_cpu(AttentionBenchOptions options) {
  if (options.layout == "auto") options.layout = "runs";
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool,
                           ThreadPool::create(options.threads));
  ONEBEAT_ASSIGN_OR_RETURN(const auto cases, make_cases(options));
  ONEBEAT_ASSIGN_OR_RETURN(const Memory memory, make_memory(cases, *pool));
  for (const auto& c : cases) {
    const KvLayout layout = options.layout == "nhd" ? KvLayout::kNhd : KvLayout::kRuns;
    c->place(memory, layout, options.pages_in_order, options.variant);
    ONEBEAT_RETURN_IF_ERROR(c->run(*pool).status());
  }
  ReadLimit limit(*pool, memory.buffer.bytes());
  std::vector<double> reads;
  for (std::int32_t pass = 0; pass < options.passes; ++pass) {
    for (const auto& c : cases) {
      reads.push_back(limit.pass());
      ONEBEAT_ASSIGN_OR_RETURN(const double seconds, c->run(*pool));
      c->seconds.push_back(seconds);
      c->shares.push_back(static_cast<double>(c->kv_bytes) / seconds / reads.back());
    }
  }
  return write_output(options.output, options.format == "json" ? to_json(options, cases, reads)
                                                               : to_text(cases, reads));
}

#ifdef ONEBEAT_WITH_CUDA
Status run_on_cuda(const AttentionBenchOptions& options) {
  CudaAttentionBenchOptions cuda;
  cuda.device = std::stoi(options.device.substr(5));
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
  cuda.layout = options.layout == "auto" ? "nhd" : options.layout;  // as the stored figures
  cuda.query_tokens = options.query_tokens;
  cuda.variants = CLI::detail::split(options.variant, ',');
  cuda.workers = options.workers;
  cuda.least_worker_tokens = options.least_worker_tokens;
  cuda.no_overlap = options.no_overlap;
  cuda.format = options.format;
  cuda.date = date_of_today();
  ONEBEAT_ASSIGN_OR_RETURN(const std::string report, run_cuda_attention_bench(cuda));
  return write_output(options.output, report);
}
#endif

Status run_bench_attention(const AttentionBenchOptions& options) {
  if (options.device == "cpu") return run_on_cpu(options);
#ifdef ONEBEAT_WITH_CUDA
  return run_on_cuda(options);
#else
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
#endif
}

std::string check_device(const std::string& text) {
  if (text == "cpu") return {};
  const std::string digits = text.rfind("cuda:", 0) == 0 ? text.substr(5) : "";
  const bool number = !digits.empty() && digits.size() <= 3 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
  return number ? "" : "device is '" + text + "'; it takes cpu or cuda:N";
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
  std::string described = "Cases that take turns:";
  for (const Preset& preset : kPresets) {
    names.emplace_back(preset.name);
    described +=
        fmt::format(" {} ({}{})", preset.name, preset.lens,
                    preset.window_left < 0 ? "" : fmt::format(", window {}", preset.window_left));
  }
  command->add_option("--preset", options->presets, described)
      ->delimiter(',')
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  add("--lens", options->lens, "KV tokens of each request, instead of presets: 131072,512x31");
  add("--heads", options->heads, "Query heads / KV heads");
  add("--head-dim", options->head_dim, "Elements of a head");
  add("--page", options->page, "Tokens in a page");
  add("--tile", options->tile, "Tokens in a tile");
  add("--workers", options->workers,
      "Workers of the plan; 0: 8 for each thread, or as tuned on a GPU")
      ->check(CLI::Range(0, 4096));
  add("--least-worker-tokens", options->least_worker_tokens,
      "GPU: tokens below which no worker gets a part of its own; 0: as tuned")
      ->check(CLI::Range(0, 1 << 20));
  add("--query-tokens", options->query_tokens, "Query tokens of each request")
      ->check(CLI::Range(1, 16));
  add("--invariant-chunk", options->invariant_chunk,
      "Batch-invariant mode: cuts only at multiples of this; 0: off");
  add("--kv-type", options->kv_type, "bf16, f16 or f32")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}));
  add("--layout", options->layout,
      "runs: a head's tokens of a page are contiguous; nhd: a token's heads are; auto: runs on a "
      "CPU, nhd on a GPU")
      ->check(CLI::IsMember({"auto", "runs", "nhd"}));
  add("--device", options->device, "cpu or cuda:N")->check(check_device);
  add("--set", options->set,
      "GPU: served (beside stored figures of other libraries), irregular shapes, or verify "
      "(several "
      "query tokens)")
      ->check(CLI::IsMember({"served", "irregular", "verify"}));
  command->add_flag("--no-overlap", options->no_overlap, "GPU: ordinary launches");
  command->add_flag("--pages-in-order", options->pages_in_order,
                    "Pages in rising order instead of a random one");
  add("--threads", options->threads, "Threads")->check(CLI::Range(1, ThreadPool::kMaxThreads));
  add("--variant", options->variant,
      "Force an instruction set (portable, avx2, avx512), or a GPU kernel or a family of them, or "
      "several: mma,wgmma; empty: the best");
  add("--passes", options->passes, "Passes over all cases")->check(CLI::Range(1, 100000));
  add("--format", options->format, "text or json")->check(CLI::IsMember({"text", "json"}));
  add("-o,--output", options->output, "File to write instead of standard output");
  command->callback([options, &outcome] { outcome.finish(run_bench_attention(*options)); });
}

}  // namespace onebeat::cli
