// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/values/printing.h"

namespace onebeat {

struct ChatTemplate::Parsed {
  jinja::Template source;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  auto parsed = jinja::parse(source);
  if (!parsed.ok()) return parsed.status().with_context("chat template");
  auto owned = std::make_unique<Parsed>();
  owned->source = std::move(*parsed);
  return ChatTemplate(std::move(owned));
}

namespace {

using jinja::Value;

std::tm local_time() {
  const std::time_t seconds = std::time(nullptr);
  std::tm time = {};
  localtime_r(&seconds, &time);
  return time;
}

Result<Value> make_messages(jinja::Budget& budget, std::span<const ChatMessage> messages) {
  std::vector<Value> items;
  for (const ChatMessage& message : messages) {
    ONEBEAT_ASSIGN_OR_RETURN(Value role, make_text(budget, message.role));
    ONEBEAT_ASSIGN_OR_RETURN(Value content, make_text(budget, message.content));
    std::vector<jinja::Dict::Item> members;
    members.emplace_back("role", std::move(role));
    members.emplace_back("content", std::move(content));
    ONEBEAT_ASSIGN_OR_RETURN(Value item, make_dict(budget, std::move(members)));
    items.push_back(std::move(item));
  }
  return make_list(budget, std::move(items));
}

Result<Value> read_messages(jinja::Budget& budget, std::string_view json) {
  ONEBEAT_ASSIGN_OR_RETURN(Value messages, jinja::read_json(budget, json));
  bool fits = messages.is_list();
  for (std::size_t i = 0; fits && i < messages.list().items.size(); ++i) {
    fits = messages.list().items[i].is_dict();
  }
  if (!fits) return invalid_argument("the messages must be a JSON array of objects");
  return messages;
}

Result<std::string> render_values(const jinja::Template& source, jinja::Machine& machine,
                                  Value messages, const ChatOptions& options) {
  jinja::Budget& budget = machine.budget;
  Value extra;
  if (!options.extra_json.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(extra, jinja::read_json(budget, options.extra_json));
    if (!extra.is_dict()) return invalid_argument("the extra variables must be a JSON object");
  }
  ONEBEAT_ASSIGN_OR_RETURN(Value bos, make_text(budget, options.bos_token));
  ONEBEAT_ASSIGN_OR_RETURN(Value eos, make_text(budget, options.eos_token));
  // A name is found in the order of this list.
  std::vector<std::pair<std::string_view, Value>> context;
  if (extra.is_dict()) {
    for (const auto& [name, value] : extra.dict().items) context.emplace_back(name, value);
  }
  context.emplace_back("messages", std::move(messages));
  context.emplace_back("add_generation_prompt", Value::of(options.add_generation_prompt));
  context.emplace_back("bos_token", std::move(bos));
  context.emplace_back("eos_token", std::move(eos));
  context.emplace_back("tools", Value());
  context.emplace_back("documents", Value());
  return jinja::Evaluator(machine, context).run(source);
}

}  // namespace

Result<std::string> ChatTemplate::render(std::span<const ChatMessage> messages,
                                         const ChatOptions& options) const {
  jinja::Machine machine{
      jinja::Budget(options.limits), options.now ? *options.now : local_time(), {}};
  ONEBEAT_ASSIGN_OR_RETURN(Value values, make_messages(machine.budget, messages));
  auto text = render_values(parsed_->source, machine, std::move(values), options);
  if (!text.ok()) return text.status().with_context("chat template");
  return text;
}

Result<std::string> ChatTemplate::render_json(std::string_view messages_json,
                                              const ChatOptions& options) const {
  jinja::Machine machine{
      jinja::Budget(options.limits), options.now ? *options.now : local_time(), {}};
  ONEBEAT_ASSIGN_OR_RETURN(Value values, read_messages(machine.budget, messages_json));
  auto text = render_values(parsed_->source, machine, std::move(values), options);
  if (!text.ok()) return text.status().with_context("chat template");
  return text;
}

}  // namespace onebeat
