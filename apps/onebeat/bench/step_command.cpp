// SPDX-License-Identifier: Apache-2.0
// `onebeat bench step`: prompt and decode speed of a model at some contexts, beside the machine's
// read bandwidth.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/json_text.h"
#include "bench/report.h"
#include "commands.h"
#include "device/read_bandwidth.h"
#include "engine_options.h"
#include "onebeat/thread_pool.h"

namespace onebeat::cli {
namespace {

struct StepOptions {
  ModelOptions model;
  std::vector<std::int32_t> contexts = {16, 512, 2048};
  std::int32_t tokens = 64;
  std::int32_t repeats = 3;
  std::int32_t batch = 1;
  std::string format = "text";
};

struct Speed {
  double prefill_tok_s = 0;
  double decode_tok_s = 0;
};

struct Measured {
  std::int32_t context = 0;
  double prefill_tok_s = 0;
  double decode_tok_s = 0;
  double decode_slowest_tok_s = 0;
  std::vector<Speed> runs;    ///< One of each repeat, in order; the first finds caches cold.
  double bytes_per_step = 0;  ///< Weights, and each request's KV at its mean context.
  double share = 0;           ///< bytes_per_step * steps per second / measured bandwidth.
};

/// Tokens of prompts in a step.
constexpr std::int32_t kPrefillChunk = 256;

/// Ids that repeat nothing a model could make easier; no two requests begin alike.
std::vector<std::int32_t> make_prompt(std::int32_t tokens, std::int32_t request,
                                      std::int32_t vocabulary) {
  std::vector<std::int32_t> prompt;
  for (std::int64_t i = 0; i < tokens; ++i)
    prompt.push_back(static_cast<std::int32_t>((i * 7919 + request * 104729) % vocabulary));
  return prompt;
}

/// Steps that decode while the last prompts are being computed.
std::int32_t steps_before_all_decode(const StepOptions& options, std::int32_t context) {
  return static_cast<std::int32_t>(std::int64_t{options.batch} * context / kPrefillChunk) + 2;
}

/// All prompts are computed first; then the steps in which all requests decode are timed.
Result<Speed> run_together(Engine& engine, const StepOptions& options, std::int32_t context) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  std::int32_t decoding = 0;
  std::int64_t tokens = 0;
  Status failure;
  std::vector<RequestId> ids;
  const Clock::time_point begin = Clock::now();
  for (std::int32_t i = 0; i < options.batch; ++i) {
    Request request;
    request.prompt = make_prompt(context, i, engine.facts().vocabulary);
    request.max_tokens = options.tokens + steps_before_all_decode(options, context) + 1;
    request.on_event = [&, first = true](const TokenEvent& event) mutable {
      if (event.failure != nullptr) failure = *event.failure;
      tokens += event.token != kNoToken ? 1 : 0;
      decoding += first ? 1 : 0;
      first = false;
      return true;
    };
    ONEBEAT_ASSIGN_OR_RETURN(const RequestId id, engine.submit(std::move(request)));
    ids.push_back(id);
  }
  while (decoding < options.batch) engine.step();
  Speed speed;
  speed.prefill_tok_s =
      static_cast<double>(options.batch) * context / std::max(1e-9, seconds_since(begin));
  const Clock::time_point decode_begin = Clock::now();
  const std::int64_t before = tokens;
  for (std::int32_t step = 0; step < options.tokens; ++step) engine.step();
  speed.decode_tok_s = static_cast<double>(tokens - before) / seconds_since(decode_begin);
  for (const RequestId id : ids) static_cast<void>(engine.cancel(id));
  while (engine.step()) {
  }
  if (!failure.ok()) return failure;
  return speed;
}

Result<Speed> run_alone(Engine& engine, const StepOptions& options, std::int32_t context) {
  const std::vector<std::int32_t> prompt = make_prompt(context, 0, engine.facts().vocabulary);
  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = options.tokens + 1;
  ONEBEAT_ASSIGN_OR_RETURN(const GenerateResult result, engine.generate(request));
  return Speed{result.timings.prefill_tokens_per_second(),
               result.timings.decode_tokens_per_second()};
}

/// The best of some runs: what the machine can do; the slowest says how much others were in the
/// way.
Result<Measured> measure(Engine& engine, const StepOptions& options, std::int32_t context,
                         double bytes_per_second) {
  Measured best;
  best.context = context;
  for (std::int32_t repeat = 0; repeat < options.repeats; ++repeat) {
    ONEBEAT_ASSIGN_OR_RETURN(const Speed speed, options.batch == 1
                                                    ? run_alone(engine, options, context)
                                                    : run_together(engine, options, context));
    best.runs.push_back(speed);
    best.prefill_tok_s = std::max(best.prefill_tok_s, speed.prefill_tok_s);
    best.decode_slowest_tok_s =
        repeat == 0 ? speed.decode_tok_s : std::min(best.decode_slowest_tok_s, speed.decode_tok_s);
    best.decode_tok_s = std::max(best.decode_tok_s, speed.decode_tok_s);
  }
  best.bytes_per_step = static_cast<double>(engine.facts().bytes_per_pass) +
                        static_cast<double>(engine.facts().kv_bytes_per_token) * options.batch *
                            (context + options.tokens / 2.0);
  best.share = best.bytes_per_step * best.decode_tok_s / options.batch / bytes_per_second;
  return best;
}

/// "[1.50,2.00]": one speed of every run.
std::string list_of(const std::vector<Speed>& runs, double Speed::*member) {
  std::vector<std::string> texts;
  for (const Speed& run : runs) texts.push_back(fmt::format("{:.2f}", run.*member));
  return fmt::format("[{}]", fmt::join(texts, ","));
}

std::string to_json(const StepOptions& options, const Engine& engine, double read,
                    const std::vector<Measured>& rows) {
  std::string json = fmt::format(
      "{{\"bench\":\"step\",\"device\":\"cpu\",\"cpu\":{},\"threads\":{},\"isa\":\"{}\","
      "\"compute\":\"{}\","
      "\"date\":\"{}\",\"version\":\"{}\",\"model\":{},\"limit\":\"bytes per step at the read "
      "bandwidth of the same "
      "threads, same "
      "run\",\"read_gb_per_s\":{:.3f},\"decode_tokens\":{},\"repeats\":{},\"batch\":{},\"results\":"
      "[",
      json_quoted(cpu_name()), engine.threads(), to_string(engine.isa()), options.model.compute,
      today(), ONEBEAT_VERSION, json_quoted(engine.facts().name), read, options.tokens,
      options.repeats, options.batch);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Measured& row = rows[i];
    json += fmt::format(
        "{}{{\"context\":{},\"prefill_tok_s\":{:.1f},\"decode_tok_s\":{:.2f},\"decode_slowest_tok_"
        "s\":{:.2f},"
        "\"bytes_per_step\":{:.0f},\"share\":{:.3f},\"prefill_runs\":{},\"decode_runs\":{}}}",
        i == 0 ? "" : ",", row.context, row.prefill_tok_s, row.decode_tok_s,
        row.decode_slowest_tok_s, row.bytes_per_step, row.share,
        list_of(row.runs, &Speed::prefill_tok_s), list_of(row.runs, &Speed::decode_tok_s));
  }
  return json + "]}\n";
}

std::string to_text(const Engine& engine, double read, const std::vector<Measured>& rows) {
  std::string text =
      fmt::format("{}, {} threads, {}; reads {:.2f} GB/s\n{:>8} {:>14} {:>13} {:>13} {:>9} {:>6}\n",
                  cpu_name(), engine.threads(), to_string(engine.isa()), read, "context",
                  "prefill tok/s", "decode tok/s", "(slowest)", "MB/step", "share");
  for (const Measured& row : rows) {
    text += fmt::format("{:>8} {:>14.1f} {:>13.2f} {:>13.2f} {:>9.2f} {:>6.2f}\n", row.context,
                        row.prefill_tok_s, row.decode_tok_s, row.decode_slowest_tok_s,
                        row.bytes_per_step * 1e-6, row.share);
  }
  return text;
}

/// Room for the batch, and no more, unless the caller said.
void fit_context(StepOptions& options) {
  if (options.batch == 1) return;
  options.model.max_requests = options.batch;
  if (options.model.context.has_value()) return;
  std::int64_t most = 0;
  for (const std::int32_t context : options.contexts) {
    most = std::max<std::int64_t>(most, std::int64_t{context} + options.tokens + 1 +
                                            steps_before_all_decode(options, context));
  }
  options.model.context = most;
}

Status run_step(StepOptions options) {
  fit_context(options);
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, load_engine(options.model));
  double read = 0;
  {
    ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool,
                             ThreadPool::create(engine->threads()));
    // A buffer of the weights' size: what a cache holds of the one, it holds of the other.
    constexpr std::int64_t kFewestBytes = 1 << 20;
    constexpr int kPasses = 15;
    const std::int64_t bytes = std::max(kFewestBytes, engine->facts().bytes_per_pass);
    ONEBEAT_ASSIGN_OR_RETURN(
        read, measure_read_bandwidth(*pool, static_cast<std::size_t>(bytes), kPasses));
  }
  std::vector<Measured> rows;
  for (const std::int32_t context : options.contexts) {
    ONEBEAT_ASSIGN_OR_RETURN(const Measured row, measure(*engine, options, context, read * 1e9));
    rows.push_back(row);
  }
  const std::string report = options.format == "json" ? to_json(options, *engine, read, rows)
                                                      : to_text(*engine, read, rows);
  std::fwrite(report.data(), 1, report.size(), stdout);
  return {};
}

}  // namespace

void add_bench_step_command(CLI::App& bench, Outcome& outcome) {
  const auto options = std::make_shared<StepOptions>();
  options->model.reuse_prefixes = false;  // every run computes its prompt
  options->model.prefill_chunk_beside_decode = kPrefillChunk;
  CLI::App* command = bench.add_subcommand("step", "Prompts and decode steps of a model");
  add_model_options(command, options->model);
  command
      ->add_option("--contexts", options->contexts, "Tokens of the prompt before the decoded ones")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--tokens", options->tokens, "Decode steps of each run")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--batch", options->batch,
                   "Requests that decode together; tokens per second are those of all")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "Runs of each context; the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([options, &outcome] { outcome.finish(run_step(*options)); });
}

}  // namespace onebeat::cli
