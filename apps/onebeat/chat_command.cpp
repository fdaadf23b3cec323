// SPDX-License-Identifier: Apache-2.0
// `onebeat chat`: a conversation in the terminal, or over pipes: a line in, a reply out.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "chat_prompt.h"
#include "commands.h"
#include "engine_options.h"
#include "interrupt.h"
#include "line_editor.h"
#include "onebeat/engine.h"
#include "reply_text.h"

namespace onebeat::cli {
namespace {

struct ChatCommandOptions {
  ModelOptions model;
  std::string system;
  std::int32_t max_tokens = 1024;
  SamplingParams sampling;
  std::optional<std::uint64_t> seed;
};

constexpr const char* kHelp =
    "/help   shows this\n"
    "/reset  forgets the conversation\n"
    "/exit   ends, as the end of input does\n"
    "Ctrl-C  stops a reply\n"
    "In a terminal: arrows up and down bring back earlier messages, Alt-Enter begins a new line,\n"
    "and what is pasted is sent by Enter alone.\n";

/// Lines of standard input where it is no terminal. A signal ends a wait, which std::getline would
/// take for the end; the wait looks up now and then, because a signal just before it does not end
/// it.
class LineReader {
 public:
  LineOutcome read(std::string& line) {
    while (true) {
      if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
        line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return LineOutcome::kLine;
      }
      if (interrupted()) return LineOutcome::kInterrupted;
      pollfd input = {STDIN_FILENO, POLLIN, 0};
      if (::poll(&input, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof buffer);
      if (count > 0) {
        pending_.append(buffer, static_cast<std::size_t>(count));
      } else if (count < 0 && errno == EINTR) {
        continue;
      } else if (pending_.empty()) {
        return LineOutcome::kEnd;
      } else {
        line = std::move(pending_);
        pending_.clear();
        return LineOutcome::kLine;
      }
    }
  }

 private:
  std::string pending_;
};

bool variable_is(const char* name, std::string_view value) {
  const char* found = std::getenv(name);
  return found != nullptr && found == value;
}

class Chat {
 public:
  Chat(const ChatCommandOptions& options, const LoadedModel& model, const ChatPrompt& prompt)
      : options_(options), model_(model), prompt_(prompt) {
    for (std::int32_t id = 0; id < model.tokenizer->vocabulary_size(); ++id) {
      if (model.tokenizer->is_end(id)) ends_.push_back(id);
    }
    reset();
  }

  Status run() {
    if (interactive_) {
      fmt::print("{}: type a message; /help lists the commands\n", model_.engine->facts().name);
    }
    catch_interrupts();
    std::string line;
    while (true) {
      const LineOutcome outcome = read_message(line);
      if (outcome == LineOutcome::kInterrupted) {
        if (!interactive_ || terminated()) return {StatusCode::kCancelled, "interrupted"};
        clear_interrupt();
        std::fputc('\n', stdout);
        note("/exit or Ctrl-D ends");
        continue;
      }
      if (outcome == LineOutcome::kEnd) break;
      if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      if (line == "/exit") return {};
      const bool command = line.front() == '/' && line.find('\n') == std::string::npos;
      ONEBEAT_RETURN_IF_ERROR(command ? obey(line) : answer(line));
    }
    if (interactive_) std::fputc('\n', stdout);
    return {};
  }

 private:
  LineOutcome read_message(std::string& line) {
    if (!interactive_) return reader_.read(line);
    std::fputc('\n', stdout);
    constexpr std::string_view kPrompt = "> ";
    const std::string prompt =
        colours_ ? fmt::format("\x1b[1;36m{}\x1b[0m", kPrompt) : std::string(kPrompt);
    if (edits_) return editor_.read(prompt, kPrompt.size(), line);
    std::fputs(prompt.c_str(), stdout);
    std::fflush(stdout);
    return reader_.read(line);
  }

  /// Something about the conversation that is not part of it.
  void note(std::string_view text) const {
    if (!interactive_) return;
    fmt::print("{}({}){}\n", colours_ ? "\x1b[2m" : "", text, colours_ ? "\x1b[0m" : "");
    std::fflush(stdout);
  }

  void reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  Status obey(const std::string& line) {
    if (line == "/help") {
      std::fputs(kHelp, stdout);
    } else if (line == "/reset") {
      reset();
      note("forgotten");
    } else {
      std::fprintf(stderr, "chat: there is no command %s; /help lists them\n", line.c_str());
    }
    std::fflush(stdout);
    return {};
  }

  /// The prompt of the conversation so far; the oldest exchanges go when it becomes too long.
  Result<std::vector<std::int32_t>> fitting_prompt() {
    const auto first = static_cast<std::ptrdiff_t>(options_.system.empty() ? 0 : 1);
    const std::int64_t context = model_.engine->context_tokens();
    const std::int64_t reply = std::min<std::int64_t>(options_.max_tokens, context / 4);
    while (true) {
      ONEBEAT_ASSIGN_OR_RETURN(std::vector<std::int32_t> ids, prompt_.encode(messages_));
      const auto length = static_cast<std::int64_t>(ids.size());
      if (length + reply <= context) return ids;
      if (static_cast<std::ptrdiff_t>(messages_.size()) - first < 3) {
        if (length < context) return ids;
        return out_of_range("the message makes {} tokens; the context has room for {} (--context)",
                            length, context);
      }
      messages_.erase(messages_.begin() + first, messages_.begin() + first + 2);
      std::fputs("chat: the context is full; the oldest exchange is forgotten\n", stderr);
    }
  }

  Status answer(const std::string& line) {
    messages_.push_back({"user", line});
    const auto prompt = fitting_prompt();
    if (!prompt.ok()) {
      // The conversation goes on without this message.
      messages_.pop_back();
      if (!interactive_) return prompt.status();
      std::fprintf(stderr, "chat: %s\n", prompt.status().message().c_str());
      return {};
    }
    GenerateRequest request;
    request.prompt = *prompt;
    request.max_tokens = options_.max_tokens;
    request.stop_tokens = ends_;
    request.sampling = options_.sampling;
    request.sampling.seed = options_.seed.value_or(std::random_device()());
    ONEBEAT_ASSIGN_OR_RETURN(StopStrings stops, StopStrings::make({}));
    ReplyText reply(*model_.tokenizer, std::move(stops), true);
    request.on_token = [&reply](std::int32_t token) { return reply.append(token); };
    request.cancelled = interrupted;
    ONEBEAT_ASSIGN_OR_RETURN(const GenerateResult result, model_.engine->generate(request));
    ONEBEAT_RETURN_IF_ERROR(reply.finish());
    if (isatty(STDOUT_FILENO) != 1) std::fputc('\n', stdout);
    std::fflush(stdout);
    messages_.push_back({"assistant", reply.text()});
    if (result.finish_reason == FinishReason::kCancelled) {
      if (!interactive_ || terminated()) return {StatusCode::kCancelled, "interrupted"};
      clear_interrupt();
      note("stopped");
    } else if (result.finish_reason == FinishReason::kLength) {
      const bool limit = result.tokens.size() >= static_cast<std::size_t>(options_.max_tokens);
      note(limit ? fmt::format("the reply ends at its limit of {} tokens (--max-tokens)",
                               options_.max_tokens)
                 : "the reply ends where the context is full (--context)");
    }
    return {};
  }

  const ChatCommandOptions& options_;
  const LoadedModel& model_;
  const ChatPrompt& prompt_;
  std::vector<std::int32_t> ends_;
  std::vector<ChatMessage> messages_;
  const bool interactive_ = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  const bool edits_ = interactive_ && !variable_is("TERM", "dumb");
  const bool colours_ =
      edits_ && (std::getenv("NO_COLOR") == nullptr || variable_is("NO_COLOR", ""));
  LineEditor editor_;
  LineReader reader_;
};

Status run_chat(const ChatCommandOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const LoadedModel model, load_model(options.model));
  ONEBEAT_ASSIGN_OR_RETURN(const ChatPrompt prompt,
                           ChatPrompt::make(options.model.model, *model.tokenizer));
  return Chat(options, model, prompt).run();
}

}  // namespace

void add_chat_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<ChatCommandOptions>();
  options->sampling.temperature = 0.8f;
  CLI::App* command = app.add_subcommand("chat", "Talks with a model; each line is a message");
  add_model_options(command, options->model);
  command->add_option("--system", options->system, "A system message that begins the conversation");
  command->add_option("-n,--max-tokens", options->max_tokens, "Most tokens of a reply")
      ->check(CLI::Range(1, INT32_MAX))
      ->capture_default_str();
  SamplingParams& sampling = options->sampling;
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
  command->add_option("--seed", options->seed,
                      "Same seed, same replies; without it others each time");
  command->callback([options, &outcome] {
    const Status valid = validate(options->sampling);
    if (!valid.ok()) throw CLI::ValidationError("sampling", valid.message());
    outcome.finish(run_chat(*options));
  });
}

}  // namespace onebeat::cli
