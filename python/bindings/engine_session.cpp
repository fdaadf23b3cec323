// SPDX-License-Identifier: Apache-2.0
#include "engine_session.h"

#include <algorithm>
#include <limits>
#include <span>

#include "base/error.h"
#include "engine/loading/model_texts.h"
#include "model/hub/model_cache.h"
#include "model/model.h"

namespace onebeat::python {
namespace {

void set_bit(std::vector<std::uint32_t>& words, std::int32_t id) {
  words[static_cast<std::size_t>(id) / 32] |= 1u << (id % 32);
}

/// Bits of `ids`; ids beyond the vocabulary are refused before.
std::vector<std::uint32_t> bits_of(const std::vector<std::int32_t>& ids, std::int32_t vocabulary) {
  std::vector<std::uint32_t> words(static_cast<std::size_t>(vocabulary) / 32 + 1);
  for (const std::int32_t id : ids) set_bit(words, id);
  return words;
}

Result<TokenMask> mask_of(const SessionRequest& asked, std::int32_t vocabulary) {
  if (asked.allowed.empty() && asked.min_tokens <= 0) return TokenMask();
  for (const std::int32_t id : asked.allowed) {
    if (id < 0 || id >= vocabulary) {
      return out_of_range("allowed_token_ids has id {}; the model's ids are from 0 to {}", id,
                          vocabulary - 1);
    }
  }
  const std::vector<std::int32_t>& stops = asked.request.stop_tokens;
  const auto is_stop = [&](std::int32_t id) {
    return std::find(stops.begin(), stops.end(), id) != stops.end();
  };
  if (asked.min_tokens > 0 && !asked.allowed.empty() &&
      std::all_of(asked.allowed.begin(), asked.allowed.end(), is_stop)) {
    return invalid_argument(
        "min_tokens is {}, but allowed_token_ids has only ids that end the reply",
        asked.min_tokens);
  }
  std::vector<std::uint32_t> allowed;
  if (!asked.allowed.empty()) allowed = bits_of(asked.allowed, vocabulary);
  std::vector<std::uint32_t> ends;
  for (const std::int32_t id : stops) {
    if (id < 0 || id >= vocabulary) return TokenMask();  // submit() refuses them, with their place
  }
  if (asked.min_tokens > 0) ends = bits_of(stops, vocabulary);
  return TokenMask(
      [allowed = std::move(allowed), ends = std::move(ends),
       least = static_cast<std::size_t>(std::max(asked.min_tokens, 0))](
          std::int32_t, std::span<const std::int32_t> reply, std::span<std::uint32_t> bits) {
        const bool may_end = reply.size() >= least;
        for (std::size_t i = 0; i < bits.size(); ++i) {
          if (!allowed.empty()) bits[i] &= allowed[i];
          if (!may_end) bits[i] &= ~ends[i];
        }
      });
}

}  // namespace

Result<std::unique_ptr<EngineSession>> EngineSession::load(const std::string& model,
                                                           const EngineOptions& options) {
  std::unique_ptr<EngineSession> session(new EngineSession());
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model(model));
  ONEBEAT_ASSIGN_OR_RETURN(session->engine_, Engine::load(path, options));
  const ModelFiles& files = session->engine_->model().files();
  ONEBEAT_ASSIGN_OR_RETURN(Tokenizer tokenizer, make_tokenizer(files));
  session->tokenizer_ = std::make_shared<const Tokenizer>(std::move(tokenizer));
  ONEBEAT_RETURN_IF_ERROR(
      session->engine_->set_tokenizer(session->tokenizer_).with_context(name_of(files)));
  for (std::int32_t id = 0; id < session->tokenizer_->vocabulary_size(); ++id) {
    if (session->tokenizer_->is_end(id)) session->end_tokens_.push_back(id);
  }
  // A model without a template, or with one that is not understood, generates all the same.
  const Result<std::string> source = read_chat_template(files);
  if (!source.ok()) {
    session->chat_ = source.status();
  } else if (source->empty()) {
    session->chat_ =
        unsupported("{} has no chat template; give generate() a whole prompt", name_of(files));
  } else {
    session->chat_ = ChatPrompt::make(*source, *session->tokenizer_);
  }
  ONEBEAT_RETURN_IF_ERROR(session->engine_->start());
  return session;
}

Result<RequestId> EngineSession::submit(SessionRequest asked, std::shared_ptr<ReplyQueue> queue) {
  Request& request = asked.request;
  if (!asked.ignore_end) {
    request.stop_tokens.insert(request.stop_tokens.end(), end_tokens_.begin(), end_tokens_.end());
  }
  ONEBEAT_ASSIGN_OR_RETURN(request.mask, mask_of(asked, engine_->facts().vocabulary));
  request.on_event = [queue = std::move(queue)](const TokenEvent& event) {
    queue->push(event);
    return true;
  };
  return engine_->submit(std::move(request));
}

void EngineSession::close() {
  if (engine_ != nullptr) engine_->stop();
}

Result<std::vector<std::int32_t>> EngineSession::encode_chat(
    const std::vector<std::pair<std::string, std::string>>& messages, bool add_generation_prompt,
    const std::string& extra_json) const {
  ONEBEAT_RETURN_IF_ERROR(chat_.status());
  std::vector<ChatMessage> conversation;
  conversation.reserve(messages.size());
  for (const auto& [role, content] : messages) conversation.push_back({role, content});
  ChatOptions options = chat_->options();
  options.add_generation_prompt = add_generation_prompt;
  options.extra_json = extra_json;
  ONEBEAT_ASSIGN_OR_RETURN(PromptTokens prompt, chat_->encode(conversation, options));
  return std::move(prompt.ids);
}

}  // namespace onebeat::python
