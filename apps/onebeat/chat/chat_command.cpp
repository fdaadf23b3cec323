// SPDX-License-Identifier: Apache-2.0
// `onebeat chat`: a conversation in the terminal, or over pipes: a line in, a reply out.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "chat/chat_session.h"
#include "commands.h"

namespace onebeat::cli {
namespace {

struct ChatCommandOptions {
  ModelOptions model;
  std::string template_file;
  std::string thinking;
  ChatSettings settings;
};

Status run_chat(const ChatCommandOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const LoadedModel model, load_model(options.model));
  ONEBEAT_ASSIGN_OR_RETURN(ChatPrompt prompt, make_chat_prompt(model, options.template_file));
  if (!options.thinking.empty()) prompt.set_thinking(options.thinking == "on");
  return ChatSession(options.settings, model, prompt).run();
}

void add_sampling_options(CLI::App* command, ChatSettings& settings) {
  SamplingParams& sampling = settings.sampling;
  command->add_option("--temperature", sampling.temperature, "0: always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Keeps the likeliest k tokens; 0: all")
      ->capture_default_str();
  command
      ->add_option("--top-p", sampling.top_p,
                   "Keeps the likeliest tokens that reach this probability together")
      ->capture_default_str();
  command
      ->add_option("--min-p", sampling.min_p,
                   "Keeps tokens of at least this share of the likeliest's probability")
      ->capture_default_str();
  command
      ->add_option("--repetition-penalty", sampling.repetition_penalty,
                   "Above 1: tokens that were there before become less likely")
      ->capture_default_str();
  command->add_option("--seed", settings.seed,
                      "Same seed, same replies; without it others each time");
}

}  // namespace

void add_chat_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<ChatCommandOptions>();
  ChatSettings& settings = options->settings;
  // Livelier than the likeliest token, without the long tail of unlikely ones that make small
  // models lose the thread.
  settings.sampling.temperature = 0.7f;
  settings.sampling.top_p = 0.95f;
  settings.sampling.min_p = 0.05f;
  CLI::App* command = app.add_subcommand("chat", "Talks with a model; each line is a message");
  add_model_options(command, options->model);
  command->add_option("--system", settings.system, "A system message that begins the conversation");
  command->add_option("-n,--max-tokens", settings.max_tokens, "Most tokens of a reply")
      ->check(CLI::Range(1, INT32_MAX))
      ->capture_default_str();
  add_sampling_options(command, settings);
  const std::map<std::string, WhenFull> when_full = {
      {"ask", WhenFull::kAsk}, {"forget", WhenFull::kForget}, {"stop", WhenFull::kStop}};
  command
      ->add_option("--when-full", settings.when_full,
                   "When the context is full: ask (in a terminal), forget the oldest messages, or "
                   "stop")
      ->transform(CLI::CheckedTransformer(when_full, CLI::ignore_case))
      ->default_str("ask");
  command
      ->add_option("--thinking", options->thinking,
                   "Asks models that know both to think first, or not to; without it the model's "
                   "own way")
      ->check(CLI::IsMember({"on", "off"}));
  command->add_option("--chat-template", options->template_file,
                      "A file with the chat template to use instead of the model's");
  command->add_flag("--stats", settings.stats, "Tokens and speed after each reply");
  command->callback([options, &outcome] {
    const Status valid = validate(options->settings.sampling);
    if (!valid.ok()) throw CLI::ValidationError("sampling", valid.message());
    outcome.finish(run_chat(*options));
  });
}

}  // namespace onebeat::cli
