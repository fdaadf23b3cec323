// SPDX-License-Identifier: Apache-2.0
// The part of the evaluator that executes statements. As in Jinja, a loop's body, a `with` block
// and a macro have their own variables; an `if` has not.
#include "text/jinja/evaluator.h"

#include "base/error.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"

namespace onebeat::jinja {

Evaluator::Evaluator(Machine& machine,
                     const std::vector<std::pair<std::string_view, Value>>& context)
    : machine_(machine), budget_(machine.budget), scopes_(1) {
  for (const auto& [name, value] : context) scopes_[0].push_back({name, value});
  static constexpr std::pair<std::string_view, Function> kFunctions[] = {
      {"namespace", Function::kNamespace},
      {"range", Function::kRange},
      {"dict", Function::kDict},
      {"raise_exception", Function::kRaiseException},
      {"strftime_now", Function::kStrftimeNow},
  };
  for (const auto& [name, function] : kFunctions) {
    scopes_[0].push_back({name, Value(Value::State(function))});
  }
}

Status Evaluator::at(int line, Status status) {
  if (status.ok() || located_) return status;
  located_ = true;
  return status.with_context(fmt::format("line {}", line));
}

Result<std::string> Evaluator::run(const Template& source) {
  std::string out;
  out_ = &out;
  const auto flow = execute(source.body);
  if (!flow.ok()) return flow.status();
  return out;
}

Status Evaluator::write(std::string_view text) {
  ONEBEAT_RETURN_IF_ERROR(budget_.spend(text.size()));
  ONEBEAT_RETURN_IF_ERROR(budget_.allow_output(written_ + text.size()));
  written_ += text.size();
  out_->append(text);
  return {};
}

Result<Evaluator::Flow> Evaluator::execute(const Block& block) {
  for (const Statement* statement : block) {
    ONEBEAT_RETURN_IF_ERROR(at(statement->line, budget_.spend()));
    if (depth_ == kMaxEvaluationDepth) {
      return at(statement->line,
                resource_exhausted("the template calls or nests more than {} deep", depth_));
    }
    ++depth_;
    auto flow = at(statement->line, execute(*statement));
    --depth_;
    if (!flow.ok() || *flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::execute(const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::kText:
      ONEBEAT_RETURN_IF_ERROR(write(statement.text));
      return Flow::kNormal;
    case StatementKind::kOutput: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expr));
      if (value.is_text()) {
        ONEBEAT_RETURN_IF_ERROR(write(value.text()));
      } else {
        ONEBEAT_ASSIGN_OR_RETURN(const std::string text, to_text(budget_, value));
        ONEBEAT_RETURN_IF_ERROR(write(text));
      }
      return Flow::kNormal;
    }
    case StatementKind::kIf:
      return execute_if(statement);
    case StatementKind::kFor:
      return execute_for(statement);
    case StatementKind::kSet:
      return execute_set(statement);
    case StatementKind::kScope:
      return execute_scope(statement);
    case StatementKind::kMacro:
      ONEBEAT_RETURN_IF_ERROR(set_variable(statement.text, Value(Value::State(&statement))));
      return Flow::kNormal;
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return internal_error("an unknown statement");
}

Result<Evaluator::Flow> Evaluator::execute_if(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition != nullptr) {
      ONEBEAT_ASSIGN_OR_RETURN(const Value condition, evaluate(*branch.condition));
      if (!condition.truthy()) continue;
    }
    return execute(branch.body);
  }
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::execute_for(const Statement& statement) {
  ONEBEAT_ASSIGN_OR_RETURN(const Value iterable, evaluate(*statement.expr));
  std::vector<Value> items;
  if (!iterable.is_list() || statement.filter != nullptr) {
    ONEBEAT_ASSIGN_OR_RETURN(items, iterate(budget_, iterable));
  }
  if (statement.filter != nullptr) {
    std::vector<Value> kept;
    for (Value& item : items) {
      scopes_.emplace_back();
      ONEBEAT_RETURN_IF_ERROR(assign(statement.target, item));
      ONEBEAT_ASSIGN_OR_RETURN(const Value keep, evaluate(*statement.filter));
      scopes_.pop_back();
      if (keep.truthy()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  // Held as a value, so that what nested loops hold is counted.
  Value sequence = iterable;
  if (!iterable.is_list() || statement.filter != nullptr) {
    ONEBEAT_ASSIGN_OR_RETURN(sequence, make_list(budget_, std::move(items)));
  }
  return execute_loop(statement, sequence.list().items);
}

Result<Evaluator::Flow> Evaluator::execute_loop(const Statement& statement,
                                                const std::vector<Value>& items) {
  if (items.empty()) {
    scopes_.emplace_back();
    ONEBEAT_ASSIGN_OR_RETURN(const Flow flow, execute(statement.otherwise));
    scopes_.pop_back();
    return flow;
  }
  Loop loop;
  loop.items = &items;
  loop.nesting = ++loop_nesting_;
  for (; loop.index < items.size(); ++loop.index) {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend());
    scopes_.emplace_back();
    scopes_.back().push_back({"loop", Value(Value::State(static_cast<const Loop*>(&loop)))});
    ONEBEAT_RETURN_IF_ERROR(assign(statement.target, items[loop.index]));
    ONEBEAT_ASSIGN_OR_RETURN(const Flow flow, execute(statement.body));
    scopes_.pop_back();
    if (flow == Flow::kBreak) break;
  }
  --loop_nesting_;
  return Flow::kNormal;
}

Result<Value> Evaluator::capture(const Block& block, Flow& flow) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  auto result = execute(block);
  out_ = outer;
  written_ -= text.size();
  ONEBEAT_ASSIGN_OR_RETURN(flow, std::move(result));
  return make_text(budget_, std::move(text));
}

Result<Evaluator::Flow> Evaluator::execute_set(const Statement& statement) {
  Flow flow = Flow::kNormal;
  if (statement.expr != nullptr) {
    ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate(*statement.expr));
    ONEBEAT_RETURN_IF_ERROR(assign(statement.target, std::move(value)));
    return flow;
  }
  // The block has variables of its own, as in Jinja.
  scopes_.emplace_back();
  ONEBEAT_ASSIGN_OR_RETURN(Value value, capture(statement.body, flow));
  scopes_.pop_back();
  if (flow == Flow::kNormal) ONEBEAT_RETURN_IF_ERROR(assign(statement.target, std::move(value)));
  return flow;
}

Result<Evaluator::Flow> Evaluator::execute_scope(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& [name, expr] : statement.assignments) {
    ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate(*expr));
    values.push_back(std::move(value));
  }
  scopes_.emplace_back();
  for (std::size_t i = 0; i < values.size(); ++i) {
    ONEBEAT_RETURN_IF_ERROR(set_variable(statement.assignments[i].first, std::move(values[i])));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const Flow flow, execute(statement.body));
  scopes_.pop_back();
  return flow;
}

Status Evaluator::set_variable(std::string_view name, Value value) {
  ONEBEAT_RETURN_IF_ERROR(budget_.spend(scopes_.back().size() * 4));
  for (Variable& variable : scopes_.back()) {
    if (variable.name != name) continue;
    variable.value = std::move(value);
    return {};
  }
  scopes_.back().push_back({name, std::move(value)});
  return {};
}

Status Evaluator::set_attribute(const Target& target, Value value) {
  Expr name;
  name.name = target.names[0];
  ONEBEAT_ASSIGN_OR_RETURN(const Value object, evaluate_name(name));
  const auto* space = object.get_if<Namespace*>();
  if (space == nullptr) {
    return invalid_argument("'{}' is {}; only a namespace has attributes that can be set",
                            target.names[0], object.type_name());
  }
  auto& items = (*space)->items;
  ONEBEAT_RETURN_IF_ERROR(budget_.spend(items.size() * 16));
  for (auto& [key, old] : items) {
    if (key != target.attribute) continue;
    old = std::move(value);
    return {};
  }
  ONEBEAT_RETURN_IF_ERROR(budget_.keep(96 + target.attribute.size()));
  items.emplace_back(target.attribute, std::move(value));
  return {};
}

Status Evaluator::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) return set_attribute(target, std::move(value));
  if (!target.tuple) return set_variable(target.names[0], std::move(value));
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(budget_, value));
  if (items.size() != target.names.size()) {
    return invalid_argument("{} values cannot be assigned to {} names", items.size(),
                            target.names.size());
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    ONEBEAT_RETURN_IF_ERROR(set_variable(target.names[i], items[i]));
  }
  return {};
}

Result<Value> Evaluator::call_macro(const Statement& macro, const Arguments& args) {
  const auto& parameters = macro.assignments;
  if (args.positional.size() > parameters.size()) {
    return invalid_argument("the macro '{}' takes at most {} arguments, not {}", macro.text,
                            parameters.size(), args.positional.size());
  }
  for (const auto& [name, value] : args.named) {
    bool known = false;
    for (const auto& [parameter, fallback] : parameters) known = known || parameter == name;
    if (!known) return invalid_argument("the macro '{}' has no argument '{}'", macro.text, name);
  }
  const std::size_t outer_scope = std::exchange(first_scope_, scopes_.size());
  const int outer_nesting = std::exchange(loop_nesting_, 0);
  scopes_.emplace_back();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, fallback] = parameters[i];
    Value value = Value::undefined(name);
    const Value* given = i < args.positional.size() ? &args.positional[i] : nullptr;
    for (const auto& [named, named_value] : args.named) {
      if (named == name) given = &named_value;
    }
    if (given != nullptr) {
      value = *given;
    } else if (fallback != nullptr) {
      ONEBEAT_ASSIGN_OR_RETURN(value, evaluate(*fallback));
    }
    ONEBEAT_RETURN_IF_ERROR(set_variable(name, std::move(value)));
  }
  Flow flow = Flow::kNormal;
  auto result = capture(macro.body, flow);
  scopes_.pop_back();
  first_scope_ = outer_scope;
  loop_nesting_ = outer_nesting;
  return result;
}

}  // namespace onebeat::jinja
