// SPDX-License-Identifier: Apache-2.0
// `onebeat generate`: completes a prompt, as it is or as a message, and says where the time went.
#include <fmt/format.h>

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
#include "chat_prompt.h"
#include "commands.h"
#include "engine/loading/tokenizer_from_gguf.h"
#include "engine_options.h"
#include "id_list.h"
#include "input.h"
#include "interrupt.h"
#include "onebeat/engine.h"
#include "reply_text.h"

namespace onebeat::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  std::optional<std::string> prompt;
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
                                                const Tokenizer& tokenizer,
                                                const std::string& text) {
  if (options.chat) {
    ONEBEAT_ASSIGN_OR_RETURN(const ChatPrompt chat,
                             ChatPrompt::make(options.model.model, tokenizer));
    const ChatMessage message = {"user", text};
    return chat.encode(std::span(&message, 1));
  }
  EncodeOptions encode;
  encode.parse_special = options.special;
  encode.begin = EncodeOptions::Begin::kModel;
  return tokenizer.encode(text, encode);
}

Status run_generate(const GenerateOptions& options) {
  using Clock = std::chrono::steady_clock;
  ONEBEAT_ASSIGN_OR_RETURN(StopStrings stops, StopStrings::make(options.stops));
  std::string prompt_text;
  if (options.prompt.has_value()) {
    prompt_text = *options.prompt;
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(prompt_text, read_input(options.file));
  }
  if (prompt_text.empty())
    return invalid_argument("the prompt is empty; it needs at least one character");

  const Clock::time_point begin = Clock::now();
  ONEBEAT_ASSIGN_OR_RETURN(const LoadedModel model, load_model(options.model));
  const double load_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();

  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<std::int32_t> prompt,
                           encode_prompt(options, *model.tokenizer, prompt_text));
  const std::vector<std::int32_t> ends = end_tokens(*model.tokenizer);

  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = options.max_tokens;
  if (!options.ignore_eos) request.stop_tokens = ends;
  request.sampling = {options.temperature, options.top_k, options.top_p, options.min_p,
                      options.seed.value_or(std::random_device()())};
  const bool json = options.format == "json";
  ReplyText reply(*model.tokenizer, std::move(stops), !json);
  request.on_token = [&reply](std::int32_t token) { return reply.append(token); };
  catch_interrupts();
  request.cancelled = interrupted;

  ONEBEAT_ASSIGN_OR_RETURN(const GenerateResult result, model.engine->generate(request));
  ONEBEAT_RETURN_IF_ERROR(reply.finish());
  if (json) {
    const std::string report =
        report_json(prompt, result, reply.text(), load_ms, request.sampling.seed);
    std::fwrite(report.data(), 1, report.size(), stdout);
  }
  std::fflush(stdout);
  std::fputs(timings_line(result, load_ms, request.sampling.seed, *model.engine).c_str(), stderr);
  if (result.finish_reason == FinishReason::kCancelled)
    return {StatusCode::kCancelled, "interrupted"};
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
  if (!options.prompt.has_value() && options.file.empty())
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
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "The text to complete");
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
