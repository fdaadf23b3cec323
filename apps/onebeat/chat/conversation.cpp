// SPDX-License-Identifier: Apache-2.0
#include "chat/conversation.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json_text.h"
#include "json/json.h"

namespace onebeat::cli {

std::string_view Conversation::system() const {
  return first() == 1 ? std::string_view(messages_[0].content) : std::string_view();
}

void Conversation::set_system(std::string text) {
  messages_.erase(messages_.begin(), messages_.begin() + first());
  if (!text.empty()) messages_.insert(messages_.begin(), {"system", std::move(text)});
}

void Conversation::add(std::string role, std::string text) {
  messages_.push_back({std::move(role), std::move(text)});
}

bool Conversation::take_back(std::string_view role) {
  if (messages_.empty() || messages_.back().role != role) return false;
  messages_.pop_back();
  return true;
}

bool Conversation::forget_oldest() {
  const auto begin = messages_.begin() + first();
  if (begin == messages_.end()) return false;
  const auto next = std::find_if(begin + 1, messages_.end(),
                                 [](const ChatMessage& message) { return message.role == "user"; });
  if (next == messages_.end()) return false;
  messages_.erase(begin, next);
  return true;
}

std::string Conversation::to_json() const {
  std::string out = "[";
  for (const ChatMessage& message : messages_) {
    out += out.size() == 1 ? "\n" : ",\n";
    out += "  {\"role\": " + json_quoted(message.role) +
           ", \"content\": " + json_quoted(message.content) + "}";
  }
  return out + "\n]\n";
}

Result<Conversation> Conversation::from_json(std::string_view json, std::string_view name) {
  ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::parse(json, name));
  const JsonValue list = document.root();
  if (!list.is(JsonKind::kArray)) {
    return invalid_argument("{}: messages are an array of objects, this is {}", name,
                            to_string(list.kind()));
  }
  Conversation read;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonValue message = list.at(i);
    const auto role = message.required<std::string_view>("role");
    const auto content = message.required<std::string_view>("content");
    for (const Status& status : {role.status(), content.status()}) {
      if (!status.ok()) return status.with_context(fmt::format("{}: message {}", name, i + 1));
    }
    read.add(std::string(*role), std::string(*content));
  }
  return read;
}

}  // namespace onebeat::cli
