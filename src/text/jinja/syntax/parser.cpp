// SPDX-License-Identifier: Apache-2.0
// Parses statements: text, outputs and blocks.
#include <algorithm>

#include "base/error.h"
#include "text/jinja/syntax/expression_parser.h"
#include "text/jinja/syntax/lexer.h"
#include "text/jinja/syntax/syntax.h"

namespace onebeat::jinja {
namespace {

class Parser {
 public:
  Parser(std::vector<Token> tokens, Template& store)
      : tokens_(std::move(tokens)), store_(store), expressions_(tokens_, store, nesting_) {}

  Status run() {
    ONEBEAT_RETURN_IF_ERROR(parse_block({}, store_.body));
    if (tokens_.is(TokenKind::kEnd)) return {};
    return invalid_argument("line {}: {} does not belong to any open block", tokens_.line(),
                            TokenStream::describe(tokens_.peek(1)));
  }

 private:
  using StatementResult = Result<const Statement*>;
  using Names = std::initializer_list<std::string_view>;

  static Statement node(StatementKind kind, int line) {
    Statement statement;
    statement.kind = kind;
    statement.line = line;
    return statement;
  }

  const Statement* make(Statement statement) {
    store_.statements.push_back(std::move(statement));
    return &store_.statements.back();
  }

  // Statements up to a block whose name is in `ends`, which is left to be read, or to the end.
  Status parse_block(Names ends, Block& block) {
    const Nesting nesting(nesting_);
    ONEBEAT_RETURN_IF_ERROR(nesting.check(tokens_.line()));
    while (!tokens_.is(TokenKind::kEnd)) {
      if (tokens_.is(TokenKind::kData)) {
        Statement text = node(StatementKind::kText, tokens_.line());
        text.text = tokens_.next().text;
        block.push_back(make(std::move(text)));
      } else if (tokens_.is(TokenKind::kVariableBegin)) {
        Statement output = node(StatementKind::kOutput, tokens_.next().line);
        ONEBEAT_ASSIGN_OR_RETURN(output.expr, expressions_.parse_tuple());
        if (!tokens_.is(TokenKind::kVariableEnd)) return tokens_.unexpected("the end of the tag");
        tokens_.next();
        block.push_back(make(std::move(output)));
      } else {
        const Token& name = tokens_.peek(1);
        if (name.kind != TokenKind::kName) {
          tokens_.next();
          return tokens_.unexpected("the name of a block");
        }
        const bool is_end = std::find(ends.begin(), ends.end(), name.text) != ends.end();
        if (is_end || name.text == "elif" || name.text == "else" ||
            name.text.rfind("end", 0) == 0) {
          return {};
        }
        tokens_.next();
        ONEBEAT_ASSIGN_OR_RETURN(const Statement* statement, parse_statement());
        block.push_back(statement);
      }
    }
    return {};
  }

  // Reads the name of the block that closes `opener`, or continues it: one of `ends`.
  Status parse_end(std::string_view opener, int line, Names ends, std::string& end) {
    if (tokens_.is(TokenKind::kEnd)) {
      return invalid_argument("line {}: '{}' is never closed", line, opener);
    }
    tokens_.next();
    if (std::find(ends.begin(), ends.end(), tokens_.peek().text) == ends.end()) {
      return tokens_.unexpected(fmt::format("the end of '{}' of line {}", opener, line));
    }
    end = tokens_.next().text;
    return {};
  }
  Status end_tag() {
    if (!tokens_.is(TokenKind::kBlockEnd)) return tokens_.unexpected("the end of the tag");
    tokens_.next();
    return {};
  }
  // The rest of a block without branches: its tag's end, the body and the closing tag.
  Status parse_body(std::string_view opener, std::string_view closer, Statement& statement) {
    ONEBEAT_RETURN_IF_ERROR(end_tag());
    ONEBEAT_RETURN_IF_ERROR(parse_block({closer}, statement.body));
    std::string end;
    ONEBEAT_RETURN_IF_ERROR(parse_end(opener, statement.line, {closer}, end));
    return end_tag();
  }

  StatementResult parse_statement() {
    const int line = tokens_.line();
    const std::string name = tokens_.next().text;
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "with") return parse_with(line);
    if (name == "macro") return parse_macro(line);
    if (name == "generation") {
      Statement scope = node(StatementKind::kScope, line);
      ONEBEAT_RETURN_IF_ERROR(parse_body(name, "endgeneration", scope));
      return make(std::move(scope));
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return invalid_argument("line {}: '{}' outside of a loop", line, name);
      ONEBEAT_RETURN_IF_ERROR(end_tag());
      return make(node(name == "break" ? StatementKind::kBreak : StatementKind::kContinue, line));
    }
    static constexpr std::string_view kKnown[] = {"autoescape", "block",  "call",      "do",
                                                  "extends",    "filter", "from",      "import",
                                                  "include",    "trans",  "pluralize", "debug"};
    if (std::count(std::begin(kKnown), std::end(kKnown), name) != 0) {
      return unsupported("line {}: the block '{}' is not supported", line, name);
    }
    return invalid_argument("line {}: there is no block '{}'", line, name.substr(0, 80));
  }

  StatementResult parse_if(int line) {
    Statement statement = node(StatementKind::kIf, line);
    bool is_last = false;
    while (true) {
      Branch branch;
      if (!is_last) {
        ONEBEAT_ASSIGN_OR_RETURN(branch.condition, expressions_.parse_tuple(false));
      }
      ONEBEAT_RETURN_IF_ERROR(end_tag());
      ONEBEAT_RETURN_IF_ERROR(parse_block({"elif", "else", "endif"}, branch.body));
      statement.branches.push_back(std::move(branch));
      std::string end;
      const Status status = is_last ? parse_end("if", line, {"endif"}, end)
                                    : parse_end("if", line, {"elif", "else", "endif"}, end);
      ONEBEAT_RETURN_IF_ERROR(status);
      if (end == "endif") break;
      is_last = end == "else";
    }
    ONEBEAT_RETURN_IF_ERROR(end_tag());
    return make(std::move(statement));
  }

  StatementResult parse_for(int line) {
    Statement statement = node(StatementKind::kFor, line);
    ONEBEAT_RETURN_IF_ERROR(parse_target(statement.target, false));
    ONEBEAT_RETURN_IF_ERROR(tokens_.expect_name("in"));
    ONEBEAT_ASSIGN_OR_RETURN(statement.expr, expressions_.parse_tuple(false));
    if (tokens_.skip_name("if")) {
      ONEBEAT_ASSIGN_OR_RETURN(statement.filter, expressions_.parse_expression());
    }
    if (tokens_.is_name("recursive")) {
      return unsupported("line {}: 'for ... recursive' is not supported", line);
    }
    ONEBEAT_RETURN_IF_ERROR(end_tag());
    ++loops_;
    const Status body = parse_block({"else", "endfor"}, statement.body);
    --loops_;
    ONEBEAT_RETURN_IF_ERROR(body);
    std::string end;
    ONEBEAT_RETURN_IF_ERROR(parse_end("for", line, {"else", "endfor"}, end));
    if (end == "else") {
      ONEBEAT_RETURN_IF_ERROR(end_tag());
      ONEBEAT_RETURN_IF_ERROR(parse_block({"endfor"}, statement.otherwise));
      ONEBEAT_RETURN_IF_ERROR(parse_end("for", line, {"endfor"}, end));
    }
    ONEBEAT_RETURN_IF_ERROR(end_tag());
    return make(std::move(statement));
  }

  StatementResult parse_set(int line) {
    Statement statement = node(StatementKind::kSet, line);
    ONEBEAT_RETURN_IF_ERROR(parse_target(statement.target, true));
    if (tokens_.skip_operator("=")) {
      ONEBEAT_ASSIGN_OR_RETURN(statement.expr, expressions_.parse_tuple());
      ONEBEAT_RETURN_IF_ERROR(end_tag());
      return make(std::move(statement));
    }
    if (tokens_.is_operator("|")) {
      return unsupported("line {}: a 'set' block with filters is not supported", line);
    }
    ONEBEAT_RETURN_IF_ERROR(parse_body("set", "endset", statement));
    return make(std::move(statement));
  }

  StatementResult parse_with(int line) {
    Statement statement = node(StatementKind::kScope, line);
    while (!tokens_.is(TokenKind::kBlockEnd)) {
      ONEBEAT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_identifier());
      ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator("="));
      ONEBEAT_ASSIGN_OR_RETURN(const Expr* value, expressions_.parse_expression());
      statement.assignments.emplace_back(std::move(name), value);
      if (!tokens_.skip_operator(",")) break;
    }
    ONEBEAT_RETURN_IF_ERROR(parse_body("with", "endwith", statement));
    return make(std::move(statement));
  }

  StatementResult parse_macro(int line) {
    Statement macro = node(StatementKind::kMacro, line);
    ONEBEAT_ASSIGN_OR_RETURN(macro.text, tokens_.expect_identifier());
    ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator("("));
    while (!tokens_.is_operator(")")) {
      ONEBEAT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_identifier());
      const Expr* fallback = nullptr;
      if (tokens_.skip_operator("=")) {
        ONEBEAT_ASSIGN_OR_RETURN(fallback, expressions_.parse_expression());
      }
      macro.assignments.emplace_back(std::move(name), fallback);
      if (!tokens_.skip_operator(",")) break;
    }
    ONEBEAT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
    const int loops = std::exchange(loops_, 0);
    const Status body = parse_body("macro", "endmacro", macro);
    loops_ = loops;
    ONEBEAT_RETURN_IF_ERROR(body);
    return make(std::move(macro));
  }

  // a | a, b | (a, b) | ns.a
  Status parse_target(Target& target, bool with_attribute) {
    const bool in_parentheses = tokens_.skip_operator("(");
    while (true) {
      ONEBEAT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_identifier());
      target.names.push_back(std::move(name));
      if (target.names.size() == 1 && with_attribute && tokens_.skip_operator(".")) {
        ONEBEAT_ASSIGN_OR_RETURN(target.attribute, tokens_.expect_identifier());
        return {};
      }
      if (!tokens_.skip_operator(",")) break;
      target.tuple = true;
      if (!tokens_.is(TokenKind::kName) || tokens_.is_name("in")) break;
    }
    return in_parentheses ? tokens_.expect_operator(")") : Status();
  }

  TokenStream tokens_;
  Template& store_;
  int nesting_ = 0;
  int loops_ = 0;
  ExpressionParser expressions_;
};

}  // namespace

Result<Template> parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return out_of_range("the template has {} bytes; the limit is {}", source.size(),
                        kMaxSourceBytes);
  }
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<Token> tokens, tokenize(source));
  Template result;
  ONEBEAT_RETURN_IF_ERROR(Parser(std::move(tokens), result).run());
  return result;
}

}  // namespace onebeat::jinja
