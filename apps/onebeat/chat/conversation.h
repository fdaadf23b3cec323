// SPDX-License-Identifier: Apache-2.0
// The messages of a chat.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"
#include "text/chat_template.h"

namespace onebeat::cli {

/// A system message, or none, and after it what was said by turns.
class Conversation {
 public:
  explicit Conversation(std::string system = {}) { set_system(std::move(system)); }

  [[nodiscard]] std::span<const ChatMessage> messages() const { return messages_; }
  /// Messages but the system's.
  [[nodiscard]] std::size_t turns() const {
    return messages_.size() - static_cast<std::size_t>(first());
  }
  /// The system message; empty: none.
  [[nodiscard]] std::string_view system() const;
  /// Changes it and keeps the others.
  void set_system(std::string text);

  /// Forgets all but the system message.
  void reset() { messages_.erase(messages_.begin() + first(), messages_.end()); }
  void add(std::string role, std::string text);
  /// Takes back the last message if it has this role; returns whether it had.
  bool take_back(std::string_view role);
  /// Forgets the oldest message of the user with what was answered. False, and nothing changes, if
  /// it is the only one.
  bool forget_oldest();

  /// A JSON array of objects with "role" and "content", as the OpenAI API has messages.
  [[nodiscard]] std::string to_json() const;
  /// Errors, which name `name`: kDataLoss, kInvalidArgument for what is no such array.
  static Result<Conversation> from_json(std::string_view json, std::string_view name);

 private:
  [[nodiscard]] std::ptrdiff_t first() const {
    return !messages_.empty() && messages_[0].role == "system" ? 1 : 0;
  }

  std::vector<ChatMessage> messages_;
};

}  // namespace onebeat::cli
