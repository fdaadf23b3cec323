// SPDX-License-Identifier: Apache-2.0
// The part of the evaluator that computes values.
#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/values/operators.h"
#include "text/jinja/values/printing.h"

namespace onebeat::jinja {

using ValueResult = Result<Value>;

ValueResult Evaluator::evaluate(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate_object(expr));
  if (value.is<const Loop*>()) {
    return at(expr.line, unsupported("'loop' is supported only with one of its attributes"));
  }
  return value;
}

ValueResult Evaluator::evaluate_object(const Expr& expr) {
  ONEBEAT_RETURN_IF_ERROR(at(expr.line, budget_.spend()));
  if (depth_ == kMaxEvaluationDepth) {
    return at(expr.line,
              resource_exhausted("the template calls or nests more than {} deep", depth_));
  }
  ++depth_;
  ValueResult value = evaluate_node(expr);
  --depth_;
  return at(expr.line, std::move(value));
}

ValueResult Evaluator::evaluate_node(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kLiteral:
      return expr.value;
    case ExprKind::kName:
      return evaluate_name(expr);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return evaluate_list(expr);
    case ExprKind::kDict:
      return evaluate_dict(expr);
    case ExprKind::kNegate: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value value, evaluate(*expr.args[0]));
      return negate(value);
    }
    case ExprKind::kPlus: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value value, evaluate(*expr.args[0]));
      return apply_binary(budget_, "+", Value::of(std::int64_t{0}), value);
    }
    case ExprKind::kNot: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value value, evaluate(*expr.args[0]));
      return Value::of(!value.truthy());
    }
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return evaluate_logic(expr);
    case ExprKind::kBinary: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value left, evaluate(*expr.args[0]));
      ONEBEAT_ASSIGN_OR_RETURN(const Value right, evaluate(*expr.args[1]));
      return apply_binary(budget_, expr.name, left, right);
    }
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kCondition:
      return evaluate_condition(expr);
    case ExprKind::kAttribute:
      return evaluate_attribute(expr);
    case ExprKind::kItem: {
      ONEBEAT_ASSIGN_OR_RETURN(const Value object, evaluate_object(*expr.args[0]));
      ONEBEAT_ASSIGN_OR_RETURN(const Value key, evaluate(*expr.args[1]));
      return get_item(budget_, object, key);
    }
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return evaluate_call(expr);
    case ExprKind::kFilter:
      return evaluate_filter(expr);
    case ExprKind::kTest:
      return evaluate_test(expr);
  }
  return internal_error("an unknown expression");
}

ValueResult Evaluator::evaluate_name(const Expr& expr) {
  const auto find = [&](const Scope& scope) -> const Value* {
    for (const Variable& variable : scope) {
      if (variable.name == expr.name) return &variable.value;
    }
    return nullptr;
  };
  for (std::size_t i = scopes_.size(); i > first_scope_; --i) {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend(scopes_[i - 1].size() * 4));
    if (const Value* value = find(scopes_[i - 1])) return *value;
  }
  if (first_scope_ != 0) {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend(scopes_[0].size() * 4));
    if (const Value* value = find(scopes_[0])) return *value;
  }
  static constexpr std::string_view kKnown[] = {"cycler", "joiner", "lipsum", "caller", "self"};
  for (const std::string_view known : kKnown) {
    if (expr.name == known) return unsupported("'{}' is not supported", known);
  }
  return Value::undefined(expr.name);
}

ValueResult Evaluator::evaluate_list(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.args.size());
  for (const Expr* arg : expr.args) {
    ONEBEAT_ASSIGN_OR_RETURN(Value item, evaluate(*arg));
    items.push_back(std::move(item));
  }
  return make_list(budget_, std::move(items), expr.kind == ExprKind::kTuple);
}

ValueResult Evaluator::evaluate_dict(const Expr& expr) {
  std::vector<Dict::Item> items;
  for (std::size_t i = 0; i < expr.args.size(); i += 2) {
    ONEBEAT_ASSIGN_OR_RETURN(const Value key, evaluate(*expr.args[i]));
    if (!key.is_text()) {
      return unsupported("{} as the key of a dict is not supported; keys are strings",
                         key.type_name());
    }
    ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate(*expr.args[i + 1]));
    ONEBEAT_RETURN_IF_ERROR(budget_.allow_text(key.text().size()));
    items.emplace_back(key.text(), std::move(value));
  }
  return make_dict(budget_, std::move(items));
}

ValueResult Evaluator::evaluate_logic(const Expr& expr) {
  Value value;
  for (const Expr* arg : expr.args) {
    ONEBEAT_ASSIGN_OR_RETURN(value, evaluate(*arg));
    if (value.truthy() == (expr.kind == ExprKind::kOr)) break;
  }
  return value;
}

ValueResult Evaluator::evaluate_concat(const Expr& expr) {
  std::string out;
  for (const Expr* arg : expr.args) {
    ONEBEAT_ASSIGN_OR_RETURN(const Value value, evaluate(*arg));
    ONEBEAT_RETURN_IF_ERROR(append_text(budget_, value, out));
  }
  return make_text(budget_, std::move(out));
}

ValueResult Evaluator::evaluate_compare(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(Value left, evaluate(*expr.args[0]));
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(Value right, evaluate(*expr.args[i + 1]));
    ONEBEAT_ASSIGN_OR_RETURN(const bool holds, compare(budget_, expr.operators[i], left, right));
    if (!holds) return Value::of(false);
    left = std::move(right);
  }
  return Value::of(true);
}

ValueResult Evaluator::evaluate_condition(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(const Value condition, evaluate(*expr.args[1]));
  if (condition.truthy()) return evaluate(*expr.args[0]);
  if (expr.args[2] == nullptr) return Value::undefined("the missing else");
  return evaluate(*expr.args[2]);
}

ValueResult Evaluator::evaluate_slice(const Expr& expr) {
  Value parts[4];
  for (std::size_t i = 0; i < 4; ++i) {
    if (expr.args[i] == nullptr) continue;
    ONEBEAT_ASSIGN_OR_RETURN(parts[i], evaluate(*expr.args[i]));
  }
  return get_slice(budget_, parts[0], parts[1], parts[2], parts[3]);
}

ValueResult Evaluator::evaluate_attribute(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(const Value object, evaluate_object(*expr.args[0]));
  if (has_method(object, expr.name)) {
    return unsupported("the method '{}' without a call is not supported", expr.name);
  }
  return get_attribute(budget_, object, expr.name);
}

Result<Arguments> Evaluator::evaluate_arguments(const Expr& expr) {
  Arguments args;
  for (std::size_t i = 1; i < expr.args.size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate(*expr.args[i]));
    args.positional.push_back(std::move(value));
  }
  for (const auto& [name, arg] : expr.named) {
    ONEBEAT_ASSIGN_OR_RETURN(Value value, evaluate(*arg));
    args.named.emplace_back(name, std::move(value));
  }
  return args;
}

ValueResult Evaluator::evaluate_call(const Expr& expr) {
  const Expr& callee = *expr.args[0];
  Value function;
  if (callee.kind == ExprKind::kAttribute) {
    ONEBEAT_ASSIGN_OR_RETURN(const Value object, evaluate_object(*callee.args[0]));
    if (has_method(object, callee.name)) {
      ONEBEAT_ASSIGN_OR_RETURN(Arguments args, evaluate_arguments(expr));
      return call_method(machine_, object, callee.name, args);
    }
    ONEBEAT_ASSIGN_OR_RETURN(function, get_attribute(budget_, object, callee.name));
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(function, evaluate(callee));
  }
  ONEBEAT_ASSIGN_OR_RETURN(Arguments args, evaluate_arguments(expr));
  if (const auto* known = function.get_if<Function>()) return call_function(machine_, *known, args);
  if (const auto* macro = function.get_if<const Statement*>()) return call_macro(**macro, args);
  if (const auto* undefined = function.get_if<Undefined>()) {
    return invalid_argument("'{}' is undefined and cannot be called", undefined->name);
  }
  return invalid_argument("{} cannot be called", function.type_name());
}

ValueResult Evaluator::evaluate_filter(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(const Value input, evaluate(*expr.args[0]));
  ONEBEAT_ASSIGN_OR_RETURN(Arguments args, evaluate_arguments(expr));
  ValueResult result = find_filter(expr.name)(machine_, input, args);
  if (result.ok()) return result;
  return result.status().with_context("the filter '" + expr.name + "'");
}

ValueResult Evaluator::evaluate_test(const Expr& expr) {
  ONEBEAT_ASSIGN_OR_RETURN(const Value input, evaluate_object(*expr.args[0]));
  ONEBEAT_ASSIGN_OR_RETURN(Arguments args, evaluate_arguments(expr));
  const Result<bool> holds = find_test(expr.name)(machine_, input, args);
  if (holds.ok()) return Value::of(*holds);
  return holds.status().with_context("the test '" + expr.name + "'");
}

}  // namespace onebeat::jinja
