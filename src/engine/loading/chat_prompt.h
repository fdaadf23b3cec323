// SPDX-License-Identifier: Apache-2.0
// Conversations as prompts: the model's chat template, then its tokenizer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace onebeat {

struct PromptTokens {
  std::vector<std::int32_t> ids;
  bool opens_thinking = false;  ///< It ends inside <think>: the reply begins with a thought.
};

class ChatPrompt {
 public:
  /// Parses a template. `tokenizer` must outlive it. Errors: those of ChatTemplate::parse().
  static Result<ChatPrompt> make(std::string_view template_source, const Tokenizer& tokenizer);

  /// Asks for thinking or none, of templates that know `enable_thinking`.
  void set_thinking(bool enabled);

  /// The tokens after which the model writes the assistant's next message. Special tokens come from
  /// the template alone: their texts in messages are spelled out. Errors: the template's refusal.
  [[nodiscard]] Result<PromptTokens> encode(std::span<const ChatMessage> messages) const {
    return encode(messages, options_);
  }
  /// The same with other options than options().
  [[nodiscard]] Result<PromptTokens> encode(std::span<const ChatMessage> messages,
                                            const ChatOptions& options) const;
  [[nodiscard]] const ChatOptions& options() const { return options_; }

 private:
  ChatPrompt(ChatTemplate chat_template, const Tokenizer& tokenizer, ChatOptions options)
      : template_(std::move(chat_template)), tokenizer_(&tokenizer), options_(std::move(options)) {}

  [[nodiscard]] Result<bool> has_special_text(std::string_view text) const;

  ChatTemplate template_;
  const Tokenizer* tokenizer_;
  ChatOptions options_;
};

}  // namespace onebeat
