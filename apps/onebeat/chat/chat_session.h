// SPDX-License-Identifier: Apache-2.0
// A chat while it runs: reads messages and commands, shows replies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/conversation.h"
#include "chat/message_reader.h"
#include "engine_options.h"
#include "onebeat/engine.h"
#include "onebeat/sampling.h"

namespace onebeat::cli {

/// What happens when a conversation has become longer than the context.
enum class WhenFull : std::uint8_t { kAsk, kForget, kStop };

struct ChatSettings {
  std::string system;
  std::int32_t max_tokens = 2048;
  SamplingParams sampling;
  std::optional<std::uint64_t> seed;
  WhenFull when_full = WhenFull::kAsk;
  bool stats = false;
};

class ChatSession {
 public:
  /// What it is given must outlive it.
  ChatSession(ChatSettings settings, const LoadedModel& model, ChatPrompt& prompt);

  /// Until the end of input, /exit, or a signal that ends programs. Errors: kCancelled; over pipes
  /// also what a message or a command made impossible.
  [[nodiscard]] Status run();

 private:
  /// Does what a line that begins with a slash asks for.
  Status obey(std::string_view line);
  Status change_system(std::string_view text);
  Status retry();
  Status think(std::string_view choice);
  Status save(std::string_view path);
  Status load(std::string_view path);

  Status answer(std::string message);
  /// The model's reply to the conversation as it is. False: the conversation had no room for one.
  Result<bool> reply();
  /// The prompt of the conversation, after some of it was forgotten if need be; nothing if the last
  /// message is to be taken back.
  Result<std::optional<PromptTokens>> fitting_prompt();
  /// Asks whether `messages` may go because `tokens` are too many.
  bool may_forget(std::int64_t tokens, std::size_t messages);
  void show_end(const GenerateResult& result) const;

  /// A remark that is not part of the conversation, for somebody who sees it.
  void note(std::string_view text) const;

  ChatSettings settings_;
  const LoadedModel& model_;
  ChatPrompt& prompt_;
  Conversation conversation_;
  MessageReader reader_;
  std::vector<std::int32_t> ends_;
  std::string own_file_;  // That /save may write again.
};

}  // namespace onebeat::cli
