// SPDX-License-Identifier: Apache-2.0
// Conversations as prompts: the model's chat template, then its tokenizer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/formats/model_files.h"
#include "onebeat/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace onebeat::cli {

struct PromptTokens {
  std::vector<std::int32_t> ids;
  bool opens_thinking = false;  ///< It ends inside <think>: the reply begins with a thought.
};

class ChatPrompt {
 public:
  /// Reads the template of a model that is open, or `template_file` instead of it. `tokenizer` must
  /// outlive it. Errors: those of read_chat_template(); kUnsupported for a model without a chat
  /// template, or a template that needs what is not there.
  static Result<ChatPrompt> make(const ModelFiles& files, const Tokenizer& tokenizer,
                                 const std::string& template_file = {});

  /// Asks for thinking or none, of templates that know `enable_thinking`.
  void set_thinking(bool enabled);

  /// The tokens after which the model writes the assistant's next message. Special tokens come from
  /// the template alone: their texts in messages are spelled out. Errors: the template's refusal.
  [[nodiscard]] Result<PromptTokens> encode(std::span<const ChatMessage> messages) const;

 private:
  ChatPrompt(ChatTemplate chat_template, const Tokenizer& tokenizer, ChatOptions options)
      : template_(std::move(chat_template)), tokenizer_(&tokenizer), options_(std::move(options)) {}

  [[nodiscard]] Result<bool> has_special_text(std::string_view text) const;

  ChatTemplate template_;
  const Tokenizer* tokenizer_;
  ChatOptions options_;
};

}  // namespace onebeat::cli
