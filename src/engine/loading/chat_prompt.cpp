// SPDX-License-Identifier: Apache-2.0
#include "engine/loading/chat_prompt.h"

#include <utility>

#include "base/error.h"

namespace onebeat {

Result<ChatPrompt> ChatPrompt::make(std::string_view template_source, const Tokenizer& tokenizer) {
  ONEBEAT_ASSIGN_OR_RETURN(ChatTemplate parsed, ChatTemplate::parse(template_source));
  ChatOptions options;
  for (const auto& [id, text] : {std::pair(tokenizer.bos(), &options.bos_token),
                                 std::pair(tokenizer.eos(), &options.eos_token)}) {
    if (!id.has_value()) continue;
    ONEBEAT_ASSIGN_OR_RETURN(const std::string_view bytes, tokenizer.token_bytes(*id));
    *text = bytes;
  }
  return ChatPrompt(std::move(parsed), tokenizer, std::move(options));
}

void ChatPrompt::set_thinking(bool enabled) {
  options_.extra_json = enabled ? R"({"enable_thinking": true})" : R"({"enable_thinking": false})";
}

Result<bool> ChatPrompt::has_special_text(std::string_view text) const {
  EncodeOptions special;
  special.parse_special = true;
  ONEBEAT_ASSIGN_OR_RETURN(const auto ids, tokenizer_->encode(text, special));
  for (const std::int32_t id : ids) {
    if (tokenizer_->is_control(id)) return true;
  }
  return false;
}

Result<PromptTokens> ChatPrompt::encode(std::span<const ChatMessage> messages,
                                        const ChatOptions& options) const {
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, template_.render(messages, options));
  const bool begins = !options.bos_token.empty() && text.starts_with(options.bos_token);
  EncodeOptions encode;
  encode.begin = begins ? EncodeOptions::Begin::kNever : EncodeOptions::Begin::kModel;

  // In one piece, as models were trained, but for messages that spell special tokens.
  PromptTokens prompt;
  const std::size_t end = text.find_last_not_of(" \t\r\n") + 1;
  prompt.opens_thinking = std::string_view(text).substr(0, end).ends_with("<think>");
  std::size_t done = 0;
  const auto append = [&](std::string_view part, bool special) -> Status {
    encode.parse_special = special;
    ONEBEAT_ASSIGN_OR_RETURN(const auto more, tokenizer_->encode(part, encode));
    prompt.ids.insert(prompt.ids.end(), more.begin(), more.end());
    encode.begin = EncodeOptions::Begin::kNever;
    return {};
  };
  std::size_t searched = 0;
  for (const ChatMessage& message : messages) {
    const std::size_t first = message.content.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) continue;
    const std::size_t last = message.content.find_last_not_of(" \t\r\n");
    const std::string_view content =
        std::string_view(message.content).substr(first, last - first + 1);
    const std::size_t place = text.find(content, searched);
    if (place != std::string::npos) searched = place + content.size();
    ONEBEAT_ASSIGN_OR_RETURN(const bool special, has_special_text(content));
    if (!special) continue;
    if (place == std::string::npos) {
      return unsupported("a message spells a special token, and the chat template changes it");
    }
    ONEBEAT_RETURN_IF_ERROR(append(std::string_view(text).substr(done, place - done), true));
    ONEBEAT_RETURN_IF_ERROR(append(content, false));
    done = place + content.size();
  }
  ONEBEAT_RETURN_IF_ERROR(append(std::string_view(text).substr(done), true));
  return prompt;
}

}  // namespace onebeat
