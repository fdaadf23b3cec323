// SPDX-License-Identifier: Apache-2.0
// Runs a parsed template: evaluates its expressions, executes its statements.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/builtins/builtins.h"
#include "text/jinja/syntax/syntax.h"

namespace onebeat::jinja {

class Evaluator {
 public:
  /// `machine` has the budget and the clock; `context` is what the template sees by name.
  Evaluator(Machine& machine, const std::vector<std::pair<std::string_view, Value>>& context);

  /// The text that the template writes. Errors have the line: kInvalidArgument for what the
  /// template or its input does wrong, kUnsupported for what is not of this subset,
  /// kResourceExhausted beyond a limit.
  Result<std::string> run(const Template& source);

 private:
  enum class Flow : std::uint8_t { kNormal, kBreak, kContinue };
  using ValueResult = Result<Value>;

  // Variables, the innermost scope last. A name is looked for in all scopes of the macro that runs
  // (from `first_scope_` on) and in the outermost.
  struct Variable {
    std::string_view name;
    Value value;
  };
  using Scope = std::vector<Variable>;

  Result<Flow> execute(const Block& block);
  Result<Flow> execute(const Statement& statement);
  Result<Flow> execute_if(const Statement& statement);
  Result<Flow> execute_for(const Statement& statement);
  Result<Flow> execute_loop(const Statement& statement, const std::vector<Value>& items);
  Result<Flow> execute_set(const Statement& statement);
  Result<Flow> execute_scope(const Statement& statement);
  Status write(std::string_view text);
  /// What a block writes, as a value.
  ValueResult capture(const Block& block, Flow& flow);
  Status assign(const Target& target, Value value);
  Status set_variable(std::string_view name, Value value);
  Status set_attribute(const Target& target, Value value);

  ValueResult evaluate(const Expr& expr);
  /// The same, but `loop` itself is allowed, which must not become a value that outlives it.
  ValueResult evaluate_object(const Expr& expr);
  ValueResult evaluate_node(const Expr& expr);
  ValueResult evaluate_name(const Expr& expr);
  ValueResult evaluate_list(const Expr& expr);
  ValueResult evaluate_dict(const Expr& expr);
  ValueResult evaluate_logic(const Expr& expr);
  ValueResult evaluate_concat(const Expr& expr);
  ValueResult evaluate_compare(const Expr& expr);
  ValueResult evaluate_condition(const Expr& expr);
  ValueResult evaluate_slice(const Expr& expr);
  ValueResult evaluate_attribute(const Expr& expr);
  ValueResult evaluate_call(const Expr& expr);
  ValueResult evaluate_filter(const Expr& expr);
  ValueResult evaluate_test(const Expr& expr);
  ValueResult call_macro(const Statement& macro, const Arguments& args);
  Result<Arguments> evaluate_arguments(const Expr& expr);

  /// Puts the line before a message, once: at the innermost place.
  Status at(int line, Status status);
  template <typename T>
  Result<T> at(int line, Result<T> result) {
    return result.ok() ? std::move(result) : Result<T>(at(line, result.status()));
  }

  Machine& machine_;
  Budget& budget_;
  std::vector<Scope> scopes_;
  std::size_t first_scope_ = 0;
  std::string* out_ = nullptr;
  std::size_t written_ = 0;  // Bytes of all texts that are being written.
  int depth_ = 0;
  int loop_nesting_ = 0;
  bool located_ = false;
};

}  // namespace onebeat::jinja
