// SPDX-License-Identifier: Apache-2.0
// EngineSession: an engine with its tokenizer and chat template, whose own thread runs the steps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/loading/chat_prompt.h"
#include "onebeat/engine.h"
#include "reply_queue.h"
#include "text/tokenizer.h"

namespace onebeat::python {

/// A request as Python describes it.
struct SessionRequest {
  Request request;
  bool ignore_end = false;            ///< The tokenizer's end tokens do not end it.
  std::int32_t min_tokens = 0;        ///< No stop token before so many tokens.
  std::vector<std::int32_t> allowed;  ///< Only these may come; empty: all.
};

class EngineSession {
 public:
  /// `model`: a path, or a name that is in the cache. Errors: those of resolve_model(),
  /// Engine::load() and make_tokenizer().
  [[nodiscard]] static Result<std::unique_ptr<EngineSession>> load(const std::string& model,
                                                                   const EngineOptions& options);
  ~EngineSession() { close(); }
  EngineSession(const EngineSession&) = delete;
  EngineSession& operator=(const EngineSession&) = delete;

  /// Events go to `queue`. Errors: those of Engine::submit(); kInvalidArgument if no token may
  /// come; kUnavailable after close().
  [[nodiscard]] Result<RequestId> submit(SessionRequest request, std::shared_ptr<ReplyQueue> queue);
  void cancel(RequestId request) { engine_->cancel(request); }
  /// Ends all requests and the thread.
  void close();

  /// Errors: kUnsupported for a model without a chat template; those of ChatPrompt.
  [[nodiscard]] Result<std::vector<std::int32_t>> encode_chat(
      const std::vector<std::pair<std::string, std::string>>& messages, bool add_generation_prompt,
      const std::string& extra_json) const;

  [[nodiscard]] const Engine& engine() const { return *engine_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }
  [[nodiscard]] const std::vector<std::int32_t>& end_tokens() const { return end_tokens_; }

 private:
  EngineSession() = default;

  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::int32_t> end_tokens_;
  Result<ChatPrompt> chat_ = Status(StatusCode::kUnsupported, "no chat template");
};

}  // namespace onebeat::python
