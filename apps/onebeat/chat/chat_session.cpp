// SPDX-License-Identifier: Apache-2.0
#include "chat/chat_session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <utility>

#include "base/error.h"
#include "chat/reply_view.h"
#include "interrupt.h"
#include "reply_text.h"
#include "terminal_text.h"

namespace onebeat::cli {

ChatSession::ChatSession(ChatSettings settings, const LoadedModel& model, ChatPrompt& prompt)
    : settings_(std::move(settings)),
      model_(model),
      prompt_(prompt),
      conversation_(settings_.system) {
  for (std::int32_t id = 0; id < model.tokenizer->vocabulary_size(); ++id) {
    if (model.tokenizer->is_end(id)) ends_.push_back(id);
  }
  if (settings_.when_full == WhenFull::kAsk && !reader_.interactive())
    settings_.when_full = WhenFull::kForget;
}

Status ChatSession::run() {
  if (reader_.interactive()) {
    fmt::print("{}: type a message; /help lists the commands\n",
               without_controls(model_.engine->facts().name));
  }
  catch_interrupts();
  std::string line;
  while (true) {
    if (reader_.interactive()) std::fputc('\n', stdout);
    const LineOutcome outcome = reader_.read("> ", line);
    if (outcome == LineOutcome::kEnd) break;
    if (outcome == LineOutcome::kInterrupted) {
      if (!reader_.interactive() || terminated()) return {StatusCode::kCancelled, "interrupted"};
      clear_interrupt();
      std::fputc('\n', stdout);
      note("/exit or Ctrl-D ends");
      continue;
    }
    if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    if (line == "/exit" || line == "/quit") return {};
    const bool escaped = line.starts_with("//");
    const bool command = line[0] == '/' && !escaped && line.find('\n') == std::string::npos;
    const Status status = command ? obey(line) : answer(line.substr(escaped ? 1 : 0));
    if (status.ok()) continue;
    if (!reader_.interactive() || status.code() == StatusCode::kCancelled) return status;
    std::fprintf(stderr, "chat: %s\n", status.message().c_str());
  }
  if (reader_.interactive()) std::fputc('\n', stdout);
  return {};
}

Status ChatSession::answer(std::string message) {
  conversation_.add("user", std::move(message));
  const Result<bool> replied = reply();
  // The conversation goes on without a message that cannot be answered.
  if (!replied.ok() || !*replied) conversation_.take_back("user");
  return replied.status();
}

Result<bool> ChatSession::reply() {
  ONEBEAT_ASSIGN_OR_RETURN(const std::optional<PromptTokens> prompt, fitting_prompt());
  if (!prompt.has_value()) return false;
  ONEBEAT_ASSIGN_OR_RETURN(StopStrings stops, StopStrings::make({}));
  ReplyText reply(*model_.tokenizer, std::move(stops), false);
  ReplyView view(isatty(STDOUT_FILENO) == 1, reader_.colours(), prompt->opens_thinking);
  std::size_t shown = 0;
  const auto show_certain = [&] {
    view.append(std::string_view(reply.text()).substr(shown));
    shown = reply.text().size();
  };
  GenerateRequest request;
  request.prompt = prompt->ids;
  request.max_tokens = settings_.max_tokens;
  request.stop_tokens = ends_;
  request.sampling = settings_.sampling;
  request.sampling.seed = settings_.seed.value_or(std::random_device()());
  request.on_token = [&](std::int32_t token) {
    const bool goes_on = reply.append(token);
    show_certain();
    return goes_on;
  };
  request.cancelled = interrupted;
  const Result<GenerateResult> result = model_.engine->generate(request);
  const Status written = reply.finish();
  show_certain();
  view.finish();
  ONEBEAT_RETURN_IF_ERROR(result.status());
  ONEBEAT_RETURN_IF_ERROR(written);
  conversation_.add("assistant", reply.text());
  show_end(*result);
  if (result->finish_reason == FinishReason::kCancelled) {
    if (!reader_.interactive() || terminated())
      return Status(StatusCode::kCancelled, "interrupted");
    clear_interrupt();
  }
  return true;
}

void ChatSession::show_end(const GenerateResult& result) const {
  if (result.finish_reason == FinishReason::kCancelled) note("stopped");
  if (result.finish_reason == FinishReason::kLength) {
    const bool limit = result.tokens.size() >= static_cast<std::size_t>(settings_.max_tokens);
    note(limit ? fmt::format("the reply ends at its limit of {} tokens (--max-tokens)",
                             settings_.max_tokens)
               : "the reply ends where the context is full (--context)");
  }
  if (!settings_.stats) return;
  const GenerateTimings& timings = result.timings;
  const std::string line = fmt::format(
      "prompt {} tokens, {} of them cached, {:.0f} ms; reply {} tokens, {:.1f} tokens/s; context "
      "{} of {}",
      timings.prompt_tokens + timings.cached_tokens, timings.cached_tokens, timings.first_token_ms,
      result.tokens.size(), timings.decode_tokens_per_second(),
      static_cast<std::size_t>(timings.prompt_tokens + timings.cached_tokens) +
          result.tokens.size(),
      model_.engine->context_tokens());
  if (reader_.interactive()) {
    note(line);
  } else {
    fmt::print(stderr, "chat: {}\n", line);
  }
}

Result<std::optional<PromptTokens>> ChatSession::fitting_prompt() {
  const std::int64_t context = model_.engine->context_tokens();
  const auto length = [](const PromptTokens& prompt) {
    return static_cast<std::int64_t>(prompt.ids.size());
  };
  ONEBEAT_ASSIGN_OR_RETURN(PromptTokens prompt, prompt_.encode(conversation_.messages()));
  const std::int64_t room_for_reply = std::min<std::int64_t>(settings_.max_tokens, context / 4);
  if (length(prompt) + room_for_reply <= context) return std::optional(std::move(prompt));

  // All that comes after something forgotten is computed anew, so a lot is forgotten at once.
  Conversation shorter = conversation_;
  const std::int64_t whole = length(prompt);
  while (length(prompt) > context / 2 && shorter.forget_oldest()) {
    ONEBEAT_ASSIGN_OR_RETURN(prompt, prompt_.encode(shorter.messages()));
  }
  if (length(prompt) >= context) {
    return out_of_range("the message makes {} tokens; the context has room for {} (--context)",
                        length(prompt), context);
  }
  const std::size_t forgotten = conversation_.turns() - shorter.turns();
  if (forgotten == 0) return std::optional(std::move(prompt));
  if (settings_.when_full == WhenFull::kStop) {
    return out_of_range(
        "the conversation makes {} tokens; the context has room for {} with a reply (--context, "
        "--when-full forget)",
        whole, context);
  }
  if (settings_.when_full == WhenFull::kAsk && !may_forget(whole, forgotten))
    return std::optional<PromptTokens>();
  conversation_ = std::move(shorter);
  const std::string text =
      fmt::format("the context is full; the oldest {} messages are forgotten", forgotten);
  if (reader_.interactive()) {
    note(text);
  } else {
    fmt::print(stderr, "chat: {}\n", text);
  }
  return std::optional(std::move(prompt));
}

bool ChatSession::may_forget(std::int64_t tokens, std::size_t messages) {
  note(
      fmt::format("the conversation makes {} tokens; a reply does not fit the context of {} any "
                  "more. f: forget the oldest {} messages, now and later; Enter: take the message "
                  "back, for instance to /save or /reset",
                  tokens, model_.engine->context_tokens(), messages));
  std::string choice;
  while (reader_.read("f or Enter: ", choice) == LineOutcome::kLine) {
    if (choice == "f") {
      settings_.when_full = WhenFull::kForget;
      return true;
    }
    if (choice.empty()) return false;
  }
  clear_interrupt();
  return false;
}

void ChatSession::note(std::string_view text) const {
  if (!reader_.interactive()) return;
  fmt::print("{}({}){}\n", reader_.colours() ? "\x1b[2m" : "", text,
             reader_.colours() ? "\x1b[0m" : "");
  std::fflush(stdout);
}

}  // namespace onebeat::cli
