// SPDX-License-Identifier: Apache-2.0
// Parses expressions, with the precedence of Jinja: if-else, or, and, not, comparisons, + -, ~, * /
// // %, signs, filters and tests, postfixes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja/syntax/syntax.h"
#include "text/jinja/syntax/token_stream.h"

namespace onebeat::jinja {

class ExpressionParser {
 public:
  using ExprResult = Result<const Expr*>;

  ExpressionParser(TokenStream& tokens, Template& store, int& nesting)
      : tokens_(tokens), store_(store), nesting_(nesting) {}

  ExprResult parse_expression(bool with_condition = true);
  /// One expression, or several with commas between, which make a tuple.
  ExprResult parse_tuple(bool with_condition = true, bool in_parentheses = false);
  /// `name(args)|name(args)...`, applied to `input`; the first `|` has been read.
  ExprResult parse_filter_chain(const Expr* input);

  /// Puts a node into the store; refuses one that is too high.
  ExprResult make(Expr expr);

 private:
  ExprResult parse_or();
  ExprResult parse_and();
  ExprResult parse_not();
  ExprResult parse_comparison();
  ExprResult parse_sum();
  ExprResult parse_concat();
  ExprResult parse_product();
  ExprResult parse_signed(bool with_filters);
  ExprResult parse_primary();
  ExprResult parse_list();
  ExprResult parse_dict();
  ExprResult parse_postfix(ExprResult base);
  ExprResult parse_subscript(const Expr* base);
  ExprResult parse_filters_and_tests(ExprResult base);
  ExprResult parse_filter(const Expr* input);
  ExprResult parse_test(const Expr* input);
  Status parse_arguments(Expr& call);
  ExprResult binary(std::string name, int line, const Expr* left, const Expr* right);
  [[nodiscard]] bool at_tuple_end() const;

  TokenStream& tokens_;
  Template& store_;
  int& nesting_;
};

}  // namespace onebeat::jinja
