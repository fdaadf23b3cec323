// SPDX-License-Identifier: Apache-2.0
// The parser's view of the tokens, and the store that its nodes go to.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/syntax/lexer.h"
#include "text/jinja/syntax/syntax.h"

namespace onebeat::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  [[nodiscard]] const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  [[nodiscard]] int line() const { return peek().line; }
  [[nodiscard]] bool is(TokenKind kind) const { return peek().kind == kind; }
  [[nodiscard]] bool is_operator(std::string_view text) const {
    return is(TokenKind::kOperator) && peek().text == text;
  }
  [[nodiscard]] bool is_name(std::string_view text) const {
    return is(TokenKind::kName) && peek().text == text;
  }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }

  Status expect_operator(std::string_view text) {
    return skip_operator(text) ? Status() : unexpected(text);
  }
  Status expect_name(std::string_view text) {
    return skip_name(text) ? Status() : unexpected(text);
  }
  Result<std::string> expect_identifier() {
    if (!is(TokenKind::kName)) return unexpected("a name");
    return next().text;
  }
  /// The failure that says what stands here instead of `expected`.
  [[nodiscard]] Status unexpected(std::string_view expected) const {
    return invalid_argument("line {}: {} where {} is expected", line(), describe(peek()), expected);
  }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kEnd:
        return "the template ends";
      case TokenKind::kData:
        return "text";
      case TokenKind::kVariableBegin:
        return "'{{'";
      case TokenKind::kVariableEnd:
        return "the end of the tag";
      case TokenKind::kBlockBegin:
        return "'{%'";
      case TokenKind::kBlockEnd:
        return "the end of the tag";
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return "a number";
      case TokenKind::kString:
        return "a string";
      case TokenKind::kName:
      case TokenKind::kOperator:
        return std::string("'").append(token.text, 0, 80).append("'");
    }
    return "something";
  }

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

/// Counts how deep the parser is inside brackets and blocks.
class Nesting {
 public:
  explicit Nesting(int& depth) : depth_(++depth) {}
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  [[nodiscard]] Status check(int line) const {
    if (depth_ <= kMaxNesting) return {};
    return out_of_range("line {}: brackets, operators or blocks are nested more than {} deep", line,
                        kMaxNesting);
  }

 private:
  int& depth_;
};

}  // namespace onebeat::jinja
