// SPDX-License-Identifier: Apache-2.0
// `onebeat generate`: completes a prompt, as it is or as a message, and says where the time went.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json_text.h"
#include "commands.h"
#include "engine/loading/tokenizer_from_gguf.h"
#include "engine_options.h"
#include "id_list.h"
#include "input.h"
#include "interrupt.h"
#include "onebeat/engine.h"
#include "reply_text.h"
#include "terminal_text.h"

namespace onebeat::cli {
namespace {

/// Prompts that are computed at once; more wait.
constexpr std::size_t kMostAtOnce = 16;

struct GenerateOptions {
  ModelOptions model;
  std::vector<std::string> prompts;
  std::string file;
  std::int32_t max_tokens = 64;
  float temperature = 0.8f;
  std::int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stops;
  bool chat = false;
  bool special = false;
  bool ignore_eos = false;
  std::string format = "text";
};

std::string timings_line(const GenerateResult& result, double load_ms, std::uint64_t seed,
                         const Engine& engine) {
  const GenerateTimings& timings = result.timings;
  return fmt::format(
      "prompt {} tokens, {:.1f} tok/s | reply {} tokens ({}), {:.1f} tok/s | first token {:.1f} ms "
      "| load {:.1f} ms | "
      "{} plans, {} threads, {}, seed {}\n",
      timings.prompt_tokens, timings.prefill_tokens_per_second(), result.tokens.size(),
      to_string(result.finish_reason), timings.decode_tokens_per_second(), timings.first_token_ms,
      load_ms, engine.counters().plans_made, engine.threads(), to_string(engine.isa()), seed);
}

/// Of several prompts together.
std::string totals_line(std::size_t prompts, double ms, double load_ms, std::uint64_t seed,
                        const Engine& engine) {
  const EngineCounters counters = engine.counters();
  return fmt::format(
      "{} prompts, {} tokens ({} more cached) | replies {} tokens | {:.1f} tok/s in all, {} steps "
      "| "
      "load {:.1f} ms | {} plans, {} threads, {}, seed {}\n",
      prompts, counters.computed_prompt_tokens, counters.cached_prompt_tokens,
      counters.generated_tokens,
      static_cast<double>(counters.computed_prompt_tokens + counters.generated_tokens) * 1e3 / ms,
      counters.steps, load_ms, counters.plans_made, engine.threads(), to_string(engine.isa()),
      seed);
}

std::string report_json(const std::vector<std::int32_t>& prompt, const GenerateResult& result,
                        const std::string& text, double load_ms, std::uint64_t seed) {
  const GenerateTimings& timings = result.timings;
  return fmt::format(
      "{{\"prompt_tokens\":{},\"tokens\":{},\"text\":{},\"finish_reason\":\"{}\",\"seed\":{},"
      "\"timings\":{{"
      "\"load_ms\":{:.3f},\"prefill_tok_s\":{:.3f},\"decode_tok_s\":{:.3f},\"ttft_ms\":{:.3f}}}}}"
      "\n",
      as_json(prompt), as_json(result.tokens), json_quoted(text), to_string(result.finish_reason),
      seed, load_ms, timings.prefill_tokens_per_second(), timings.decode_tokens_per_second(),
      timings.first_token_ms);
}

std::vector<std::int32_t> end_tokens(const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (tokenizer.is_end(id)) ids.push_back(id);
  }
  return ids;
}

Result<std::vector<std::int32_t>> encode_prompt(const GenerateOptions& options,
                                                const LoadedModel& model, const std::string& text) {
  const Tokenizer& tokenizer = *model.tokenizer;
  if (options.chat) {
    ONEBEAT_ASSIGN_OR_RETURN(const ChatPrompt chat, make_chat_prompt(model));
    const ChatMessage message = {"user", text};
    ONEBEAT_ASSIGN_OR_RETURN(PromptTokens prompt, chat.encode(std::span(&message, 1)));
    return std::move(prompt.ids);
  }
  EncodeOptions encode;
  encode.parse_special = options.special;
  encode.begin = EncodeOptions::Begin::kModel;
  return tokenizer.encode(text, encode);
}

Result<std::vector<std::string>> read_prompts(const GenerateOptions& options) {
  std::vector<std::string> prompts = options.prompts;
  if (prompts.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(std::string text, read_input(options.file));
    prompts.push_back(std::move(text));
  }
  for (const std::string& prompt : prompts) {
    if (prompt.empty())
      return invalid_argument("the prompt is empty; it needs at least one character");
  }
  return prompts;
}

/// A reply that is alone is shown as it comes, one of several when all are there.
void show(const GenerateOptions& options, std::size_t index,
          const std::vector<std::int32_t>& prompt, const GenerateResult& result,
          const std::string& text, double load_ms, std::uint64_t seed) {
  std::string shown;
  if (options.format == "json") {
    shown = report_json(prompt, result, text, load_ms, seed);
  } else if (options.prompts.size() > 1) {
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    shown = fmt::format("{}== {} ==\n{}\n", index == 0 ? "" : "\n", index + 1,
                        terminal ? without_controls(text) : text);
  }
  std::fwrite(shown.data(), 1, shown.size(), stdout);
}

Status run_generate(GenerateOptions options) {
  using Clock = std::chrono::steady_clock;
  const auto ms_since = [](Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  };
  ONEBEAT_ASSIGN_OR_RETURN(const StopStrings stops, StopStrings::make(options.stops));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<std::string> texts, read_prompts(options));

  const Clock::time_point begin = Clock::now();
  options.model.max_requests = static_cast<std::int32_t>(std::min(texts.size(), kMostAtOnce));
  ONEBEAT_ASSIGN_OR_RETURN(const LoadedModel model, load_model(options.model));
  const double load_ms = ms_since(begin);

  const std::vector<std::int32_t> ends = end_tokens(*model.tokenizer);
  const std::uint64_t seed = options.seed.value_or(std::random_device()());
  const bool streams = options.format != "json" && texts.size() == 1;
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<ReplyText> replies;
  for (const std::string& text : texts) {
    ONEBEAT_ASSIGN_OR_RETURN(std::vector<std::int32_t> prompt, encode_prompt(options, model, text));
    prompts.push_back(std::move(prompt));
    replies.emplace_back(*model.tokenizer, stops, streams, !options.chat);
  }
  std::vector<GenerateRequest> requests(texts.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    GenerateRequest& request = requests[i];
    request.prompt = prompts[i];
    request.max_tokens = options.max_tokens;
    if (!options.ignore_eos) request.stop_tokens = ends;
    request.sampling = {options.temperature, options.top_k, options.top_p, options.min_p, seed};
    request.on_token = [&reply = replies[i]](std::int32_t token) { return reply.append(token); };
    request.cancelled = interrupted;
  }
  catch_interrupts();
  const Clock::time_point started = Clock::now();
  const std::vector<Result<GenerateResult>> results = model.engine->generate(requests);
  const double ms = ms_since(started);

  bool cancelled = false;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].ok()) {
      return texts.size() == 1 ? results[i].status()
                               : results[i].status().with_context(fmt::format("prompt {}", i + 1));
    }
    ONEBEAT_RETURN_IF_ERROR(replies[i].finish());
    show(options, i, prompts[i], *results[i], replies[i].text(), load_ms, seed);
    cancelled |= results[i]->finish_reason == FinishReason::kCancelled;
  }
  std::fflush(stdout);
  const std::string line = texts.size() == 1
                               ? timings_line(*results[0], load_ms, seed, *model.engine)
                               : totals_line(texts.size(), ms, load_ms, seed, *model.engine);
  std::fputs(line.c_str(), stderr);
  if (cancelled) return {StatusCode::kCancelled, "interrupted"};
  return {};
}

void add_sampling_options(CLI::App* command, GenerateOptions& options) {
  command->add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", options.top_k, "Keeps the likeliest k tokens; 0: all")
      ->capture_default_str();
  command
      ->add_option("--top-p", options.top_p,
                   "Keeps the likeliest tokens that reach this probability together")
      ->capture_default_str();
  command
      ->add_option("--min-p", options.min_p,
                   "Keeps tokens of at least this share of the likeliest's probability")
      ->capture_default_str();
  command->add_option("--seed", options.seed,
                      "Same seed, same reply; without it another each time");
}

/// Values that parse but cannot be meant are wrong usage.
void refuse_impossible(const GenerateOptions& options) {
  if (options.prompts.empty() && options.file.empty())
    throw CLI::RequiredError("--prompt TEXT or --file FILE");
  const Status sampling =
      validate(SamplingParams{options.temperature, options.top_k, options.top_p, options.min_p, 0});
  if (!sampling.ok()) throw CLI::ValidationError("sampling", sampling.message());
}

}  // namespace

void add_generate_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Completes a prompt with a model");
  add_model_options(command, options->model);
  CLI::Option* prompt =
      command
          ->add_option("-p,--prompt", options->prompts,
                       "The text to complete; given several times, all are computed together")
          ->allow_extra_args(false);
  command
      ->add_option("-f,--file", options->file,
                   "Takes the prompt from this file; - is standard input")
      ->excludes(prompt);
  command->add_option("-n,--max-tokens", options->max_tokens, "Most tokens to generate")
      ->check(CLI::Range(0, INT32_MAX))
      ->capture_default_str();
  add_sampling_options(command, *options);
  command->add_option("--stop", options->stops,
                      "Ends the reply before this text; may be given several times");
  CLI::Option* chat =
      command->add_flag("--chat", options->chat,
                        "The prompt is a message: it goes through the model's chat template");
  command
      ->add_flag("--special", options->special,
                 "Texts of special tokens in the prompt, such as <|im_start|>, become those tokens")
      ->excludes(chat);
  command->add_flag("--ignore-eos", options->ignore_eos, "Goes on where the model would end");
  command->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([options, &outcome] {
    refuse_impossible(*options);
    outcome.finish(run_generate(*options));
  });
}

}  // namespace onebeat::cli
