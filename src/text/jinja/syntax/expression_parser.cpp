// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/syntax/expression_parser.h"

#include <algorithm>

#include "text/jinja/builtins/builtins.h"

namespace onebeat::jinja {

using ExprResult = ExpressionParser::ExprResult;

ExprResult ExpressionParser::make(Expr expr) {
  int height = 0;
  for (const Expr* arg : expr.args) {
    if (arg != nullptr) height = std::max(height, arg->height);
  }
  for (const auto& [name, arg] : expr.named) height = std::max(height, arg->height);
  expr.height = height + 1;
  if (expr.height > kMaxHeight) {
    return out_of_range(
        "line {}: an expression chains more than {} operations; store parts with 'set'", expr.line,
        kMaxHeight);
  }
  store_.exprs.push_back(std::move(expr));
  return &store_.exprs.back();
}

namespace {

Expr node(ExprKind kind, int line, std::vector<const Expr*> args = {}) {
  Expr expr;
  expr.kind = kind;
  expr.line = line;
  expr.args = std::move(args);
  return expr;
}

Expr literal(int line, Value value) {
  Expr expr = node(ExprKind::kLiteral, line);
  expr.value = std::move(value);
  return expr;
}

}  // namespace

ExprResult ExpressionParser::binary(std::string name, int line, const Expr* left,
                                    const Expr* right) {
  Expr expr = node(ExprKind::kBinary, line, {left, right});
  expr.name = std::move(name);
  return make(std::move(expr));
}

ExprResult ExpressionParser::parse_expression(bool with_condition) {
  const Nesting nesting(nesting_);
  ONEBEAT_RETURN_IF_ERROR(nesting.check(tokens_.line()));
  if (!with_condition) return parse_or();
  const int line = tokens_.line();
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* expr, parse_or());
  while (tokens_.skip_name("if")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* condition, parse_or());
    const Expr* otherwise = nullptr;
    if (tokens_.skip_name("else")) {
      ONEBEAT_ASSIGN_OR_RETURN(otherwise, parse_expression());
    }
    ONEBEAT_ASSIGN_OR_RETURN(expr,
                             make(node(ExprKind::kCondition, line, {expr, condition, otherwise})));
  }
  return expr;
}

ExprResult ExpressionParser::parse_or() {
  const int line = tokens_.line();
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* first, parse_and());
  std::vector<const Expr*> args = {first};
  while (tokens_.skip_name("or")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_and());
    args.push_back(arg);
  }
  return args.size() == 1 ? ExprResult(first) : make(node(ExprKind::kOr, line, std::move(args)));
}

ExprResult ExpressionParser::parse_and() {
  const int line = tokens_.line();
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* first, parse_not());
  std::vector<const Expr*> args = {first};
  while (tokens_.skip_name("and")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_not());
    args.push_back(arg);
  }
  return args.size() == 1 ? ExprResult(first) : make(node(ExprKind::kAnd, line, std::move(args)));
}

ExprResult ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_comparison();
  const Nesting nesting(nesting_);
  const int line = tokens_.next().line;
  ONEBEAT_RETURN_IF_ERROR(nesting.check(line));
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_not());
  return make(node(ExprKind::kNot, line, {arg}));
}

ExprResult ExpressionParser::parse_comparison() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  Expr compare = node(ExprKind::kCompare, tokens_.line());
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* first, parse_sum());
  compare.args.push_back(first);
  while (true) {
    const bool is_operator =
        tokens_.is(TokenKind::kOperator) &&
        std::count(std::begin(kOperators), std::end(kOperators), tokens_.peek().text) != 0;
    if (is_operator) {
      compare.operators.push_back(tokens_.next().text);
    } else if (tokens_.skip_name("in")) {
      compare.operators.emplace_back("in");
    } else if (tokens_.is_name("not") && tokens_.peek(1).kind == TokenKind::kName &&
               tokens_.peek(1).text == "in") {
      tokens_.next();
      tokens_.next();
      compare.operators.emplace_back("not in");
    } else {
      break;
    }
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_sum());
    compare.args.push_back(arg);
  }
  return compare.operators.empty() ? ExprResult(first) : make(std::move(compare));
}

ExprResult ExpressionParser::parse_sum() {
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* left, parse_concat());
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token& sign = tokens_.next();
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* right, parse_concat());
    ONEBEAT_ASSIGN_OR_RETURN(left, binary(sign.text, sign.line, left, right));
  }
  return left;
}

ExprResult ExpressionParser::parse_concat() {
  const int line = tokens_.line();
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* first, parse_product());
  std::vector<const Expr*> args = {first};
  while (tokens_.skip_operator("~")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_product());
    args.push_back(arg);
  }
  return args.size() == 1 ? ExprResult(first)
                          : make(node(ExprKind::kConcat, line, std::move(args)));
}

ExprResult ExpressionParser::parse_product() {
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* left, parse_signed(true));
  while (true) {
    if (tokens_.is_operator("**")) {
      return unsupported("line {}: the operator '**' is not supported", tokens_.line());
    }
    if (!tokens_.is_operator("*") && !tokens_.is_operator("/") && !tokens_.is_operator("//") &&
        !tokens_.is_operator("%")) {
      return left;
    }
    const Token& sign = tokens_.next();
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* right, parse_signed(true));
    ONEBEAT_ASSIGN_OR_RETURN(left, binary(sign.text, sign.line, left, right));
  }
}

ExprResult ExpressionParser::parse_signed(bool with_filters) {
  ExprResult expr = Status();
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Nesting nesting(nesting_);
    const Token& sign = tokens_.next();
    ONEBEAT_RETURN_IF_ERROR(nesting.check(sign.line));
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_signed(false));
    expr = make(node(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line, {arg}));
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  return with_filters ? parse_filters_and_tests(std::move(expr)) : expr;
}

ExprResult ExpressionParser::parse_primary() {
  const Token& token = tokens_.peek();
  const int line = token.line;
  switch (token.kind) {
    case TokenKind::kName: {
      const std::string& name = tokens_.next().text;
      if (name == "true" || name == "True") return make(literal(line, Value::of(true)));
      if (name == "false" || name == "False") return make(literal(line, Value::of(false)));
      if (name == "none" || name == "None") return make(literal(line, Value()));
      Expr expr = node(ExprKind::kName, line);
      expr.name = name;
      return make(std::move(expr));
    }
    case TokenKind::kString: {
      std::string text = tokens_.next().text;
      while (tokens_.is(TokenKind::kString)) text += tokens_.next().text;
      return make(literal(line, Value::literal(std::move(text))));
    }
    case TokenKind::kInteger:
      return make(literal(line, Value::of(tokens_.next().integer)));
    case TokenKind::kFloat:
      return make(literal(line, Value::of(tokens_.next().number)));
    default:
      break;
  }
  if (tokens_.skip_operator("(")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* expr, parse_tuple(true, true));
    ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
    return expr;
  }
  if (tokens_.skip_operator("[")) return parse_list();
  if (tokens_.skip_operator("{")) return parse_dict();
  return tokens_.unexpected("an expression");
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.is(TokenKind::kVariableEnd) || tokens_.is(TokenKind::kBlockEnd) ||
         tokens_.is_operator(")");
}

ExprResult ExpressionParser::parse_tuple(bool with_condition, bool in_parentheses) {
  Expr tuple = node(ExprKind::kTuple, tokens_.line());
  bool has_comma = false;
  while (!at_tuple_end()) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_expression(with_condition));
    tuple.args.push_back(arg);
    if (!tokens_.skip_operator(",")) break;
    has_comma = true;
  }
  if (!has_comma && tuple.args.size() == 1) return tuple.args[0];
  if (tuple.args.empty() && !in_parentheses) return tokens_.unexpected("an expression");
  return make(std::move(tuple));
}

ExprResult ExpressionParser::parse_list() {
  Expr list = node(ExprKind::kList, tokens_.line());
  while (!tokens_.is_operator("]")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_expression());
    list.args.push_back(arg);
    if (!tokens_.skip_operator(",")) break;
  }
  ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator("]"));
  return make(std::move(list));
}

ExprResult ExpressionParser::parse_dict() {
  Expr dict = node(ExprKind::kDict, tokens_.line());
  while (!tokens_.is_operator("}")) {
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* key, parse_expression());
    ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator(":"));
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* value, parse_expression());
    dict.args.insert(dict.args.end(), {key, value});
    if (!tokens_.skip_operator(",")) break;
  }
  ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator("}"));
  return make(std::move(dict));
}

ExprResult ExpressionParser::parse_postfix(ExprResult base) {
  while (base.ok()) {
    const int line = tokens_.line();
    if (tokens_.skip_operator(".")) {
      if (tokens_.is(TokenKind::kInteger)) {
        ONEBEAT_ASSIGN_OR_RETURN(const Expr* index,
                                 make(literal(line, Value::of(tokens_.next().integer))));
        base = make(node(ExprKind::kItem, line, {*base, index}));
        continue;
      }
      Expr attribute = node(ExprKind::kAttribute, line, {*base});
      ONEBEAT_ASSIGN_OR_RETURN(attribute.name, tokens_.expect_identifier());
      base = make(std::move(attribute));
    } else if (tokens_.skip_operator("[")) {
      base = parse_subscript(*base);
    } else if (tokens_.is_operator("(")) {
      Expr call = node(ExprKind::kCall, line, {*base});
      ONEBEAT_RETURN_IF_ERROR(parse_arguments(call));
      base = make(std::move(call));
    } else {
      break;
    }
  }
  return base;
}

ExprResult ExpressionParser::parse_subscript(const Expr* base) {
  const int line = tokens_.line();
  const Expr* parts[3] = {nullptr, nullptr, nullptr};
  int colons = 0;
  while (!tokens_.is_operator("]")) {
    if (tokens_.skip_operator(":")) {
      if (++colons > 2) return tokens_.unexpected("]");
      continue;
    }
    if (parts[colons] != nullptr) {
      if (tokens_.is_operator(",")) {
        return unsupported("line {}: an index with a comma is not supported", line);
      }
      return tokens_.unexpected("]");
    }
    ONEBEAT_ASSIGN_OR_RETURN(parts[colons], parse_expression());
  }
  tokens_.next();
  if (colons != 0) {
    return make(node(ExprKind::kSlice, line, {base, parts[0], parts[1], parts[2]}));
  }
  if (parts[0] == nullptr) return invalid_argument("line {}: an index is empty", line);
  return make(node(ExprKind::kItem, line, {base, parts[0]}));
}

Status ExpressionParser::parse_arguments(Expr& call) {
  ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator("("));
  while (!tokens_.is_operator(")")) {
    if (tokens_.is_operator("*") || tokens_.is_operator("**")) {
      return unsupported("line {}: '{}' before an argument is not supported", tokens_.line(),
                         tokens_.peek().text);
    }
    const Token& ahead = tokens_.peek(1);
    if (tokens_.is(TokenKind::kName) && ahead.kind == TokenKind::kOperator && ahead.text == "=") {
      std::string name = tokens_.next().text;
      tokens_.next();
      ONEBEAT_ASSIGN_OR_RETURN(const Expr* value, parse_expression());
      call.named.emplace_back(std::move(name), value);
    } else {
      if (!call.named.empty()) {
        return invalid_argument("line {}: an argument without a name follows one with a name",
                                tokens_.line());
      }
      ONEBEAT_ASSIGN_OR_RETURN(const Expr* value, parse_expression());
      call.args.push_back(value);
    }
    if (!tokens_.skip_operator(",")) break;
  }
  return tokens_.expect_operator(")");
}

ExprResult ExpressionParser::parse_filters_and_tests(ExprResult base) {
  while (base.ok()) {
    if (tokens_.is_operator("|")) {
      tokens_.next();
      base = parse_filter(*base);
    } else if (tokens_.is_name("is")) {
      base = parse_test(*base);
    } else if (tokens_.is_operator("(")) {
      Expr call = node(ExprKind::kCall, tokens_.line(), {*base});
      ONEBEAT_RETURN_IF_ERROR(parse_arguments(call));
      base = make(std::move(call));
    } else {
      break;
    }
  }
  return base;
}

ExprResult ExpressionParser::parse_filter(const Expr* input) {
  Expr filter = node(ExprKind::kFilter, tokens_.line(), {input});
  ONEBEAT_ASSIGN_OR_RETURN(filter.name, tokens_.expect_identifier());
  if (find_filter(filter.name) == nullptr) {
    return unsupported("line {}: the filter '{}' is not supported", filter.line, filter.name);
  }
  if (tokens_.is_operator("(")) ONEBEAT_RETURN_IF_ERROR(parse_arguments(filter));
  return make(std::move(filter));
}

ExprResult ExpressionParser::parse_filter_chain(const Expr* input) {
  ExprResult expr = parse_filter(input);
  while (expr.ok() && tokens_.skip_operator("|")) expr = parse_filter(*expr);
  return expr;
}

ExprResult ExpressionParser::parse_test(const Expr* input) {
  Expr test = node(ExprKind::kTest, tokens_.next().line, {input});
  const bool negated = tokens_.skip_name("not");
  ONEBEAT_ASSIGN_OR_RETURN(test.name, tokens_.expect_identifier());
  if (find_test(test.name) == nullptr) {
    return unsupported("line {}: the test '{}' is not supported", test.line, test.name);
  }
  const TokenKind kind = tokens_.peek().kind;
  const bool is_operand = kind == TokenKind::kString || kind == TokenKind::kInteger ||
                          kind == TokenKind::kFloat || tokens_.is_operator("[") ||
                          tokens_.is_operator("{") ||
                          (kind == TokenKind::kName && !tokens_.is_name("else") &&
                           !tokens_.is_name("or") && !tokens_.is_name("and"));
  if (tokens_.is_operator("(")) {
    ONEBEAT_RETURN_IF_ERROR(parse_arguments(test));
    if (!test.named.empty()) {
      return unsupported("line {}: tests with named arguments are not supported", test.line);
    }
  } else if (is_operand) {
    if (tokens_.is_name("is")) {
      return invalid_argument("line {}: tests with 'is' cannot be chained", tokens_.line());
    }
    // Jinja takes the next name as the test's argument, whatever it is: `x is defined if y` is an
    // error there and here.
    ONEBEAT_ASSIGN_OR_RETURN(const Expr* arg, parse_postfix(parse_primary()));
    test.args.push_back(arg);
  }
  ONEBEAT_ASSIGN_OR_RETURN(const Expr* expr, make(std::move(test)));
  return negated ? make(node(ExprKind::kNot, expr->line, {expr})) : ExprResult(expr);
}

}  // namespace onebeat::jinja
