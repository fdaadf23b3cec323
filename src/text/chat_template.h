// SPDX-License-Identifier: Apache-2.0
// Chat templates: how a model wants a conversation written. They are Jinja text from model files,
// which nobody has checked: a template sees only what it is given, and what it may spend is
// limited.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "onebeat/status.h"
#include "text/jinja/values/budget.h"

namespace onebeat {

/// One message of a conversation.
struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant", or what else the template knows.
  std::string content;
};

/// What a rendering depends on besides the messages.
struct ChatOptions {
  std::string bos_token;  ///< The text of the model's begin token; empty if it has none.
  std::string eos_token;  ///< The text of the model's end token; empty if it has none.
  /// Whether the text ends with the beginning of the assistant's reply.
  bool add_generation_prompt = true;
  /// A JSON object whose members the template sees by their names, beside and before all others:
  /// "tools", "enable_thinking" and the like. Empty: none.
  std::string extra_json;
  /// What strftime_now shows; empty: the local time of the call.
  std::optional<std::tm> now;
  jinja::Limits limits;
};

/// A parsed chat template. Immutable: one object may render in several threads at a time.
class ChatTemplate {
 public:
  /// Parses a template. Errors, with the line: kInvalidArgument for what is no Jinja; kUnsupported
  /// for a construct of Jinja that this subset lacks, with its name; kOutOfRange beyond the limits
  /// of size and nesting.
  static Result<ChatTemplate> parse(std::string_view source);

  /// Writes a conversation as the model wants it. Errors: kInvalidArgument where the template
  /// refuses the messages (the message is the template's) or goes wrong; kUnsupported;
  /// kResourceExhausted beyond a limit.
  [[nodiscard]] Result<std::string> render(std::span<const ChatMessage> messages,
                                           const ChatOptions& options) const;

  /// The same for messages in JSON, an array of objects as the OpenAI API has them; their members
  /// reach the template as they are. Further errors: kInvalidArgument for what is no such array.
  [[nodiscard]] Result<std::string> render_json(std::string_view messages_json,
                                                const ChatOptions& options) const;

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<Parsed> parsed);

  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace onebeat
