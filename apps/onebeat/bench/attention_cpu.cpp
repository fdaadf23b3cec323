// SPDX-License-Identifier: Apache-2.0
// Decode attention on the CPU, beside the speed at which the same threads merely read the same
// memory. Reads and cases take turns, so that whatever else the machine does falls on all of them
// alike.
#include "bench/attention_cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "base/error.h"
#include "bench/report.h"
#include "device/host_buffer.h"
#include "device/machine_facts.h"
#include "length_list.h"
#include "onebeat/attention.h"
#include "onebeat/thread_pool.h"

namespace onebeat::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr AttentionPreset kPresets[] = {
    {"uniform", "4096x32", -1}, {"even", "4592x32", -1}, {"skewed", "131072,512x31", -1},
    {"single", "131072", -1},   {"short", "512x64", -1}, {"window", "32768x32", 4095},
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
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

  Status prepare(const AttentionGeometry& of_case) {
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
    const std::int64_t tokens = std::int64_t{requests} * geometry.max_query_tokens;
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

const char* kv_type_name(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kF16:
      return "f16";
    case KvType::kBF16:
      return "bf16";
    case KvType::kF8E4M3:
      return "fp8";
  }
  return "";
}

std::string to_json(const CpuAttentionBenchOptions& options,
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
      cpu_facts().model, options.threads, today(), ONEBEAT_VERSION, percentile(reads, 0.5) * 1e-9,
      percentile(reads, 1) * 1e-9, options.passes, g.num_heads, g.num_kv_heads, g.head_dim,
      g.page_tokens, g.tile_tokens, g.workers, g.max_query_tokens, g.invariant_chunk_tokens,
      kv_type_name(g.kv_type), options.layout, options.pages_in_order,
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

Result<std::vector<std::unique_ptr<Case>>> make_cases(const CpuAttentionBenchOptions& options) {
  AttentionGeometry geometry = options.geometry;
  std::vector<std::unique_ptr<Case>> cases;
  const auto add = [&](const char* name, std::vector<std::int32_t> lens) -> Status {
    cases.push_back(std::make_unique<Case>(name, std::move(lens)));
    ONEBEAT_RETURN_IF_ERROR(cases.back()->prepare(geometry));
    if (cases.back()->kv_tokens > 0) return {};
    return invalid_argument("no request has a KV token: there is nothing to attend to");
  };
  if (!options.lens.empty()) {
    ONEBEAT_RETURN_IF_ERROR(add("lens", options.lens));
    return cases;
  }
  for (const std::string& name : options.presets) {
    for (const AttentionPreset& preset : kPresets) {
      if (name != preset.name) continue;
      geometry.window_left = preset.window_left;
      ONEBEAT_ASSIGN_OR_RETURN(std::vector<std::int32_t> lens, parse_length_list(preset.lens));
      ONEBEAT_RETURN_IF_ERROR(add(preset.name, std::move(lens)));
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

}  // namespace

std::span<const AttentionPreset> attention_presets() {
  return kPresets;
}

Result<std::string> run_cpu_attention_bench(const CpuAttentionBenchOptions& options) {
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
  return options.format == "json" ? to_json(options, cases, reads) : to_text(cases, reads);
}

}  // namespace onebeat::cli
