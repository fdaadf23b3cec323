// SPDX-License-Identifier: Apache-2.0
// One pass over the source. Tags inside literal text are found by their first two characters;
// inside a tag, an end mark counts only outside of all brackets, so that {{ {'a': {}} }} is one
// expression.
#include "text/jinja/syntax/lexer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/syntax/literal.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

// Line ends become \n, and one at the very end is dropped, as Jinja does.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) ONEBEAT_RETURN_IF_ERROR(lex_data());
    push(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return std::string_view(source_).substr(at_); }
  [[nodiscard]] bool starts(std::string_view text) const {
    return rest().substr(0, text.size()) == text;
  }

  Token& push(TokenKind kind, std::string_view text = {}) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = text;
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }
  // Moves on and counts lines.
  void advance(std::size_t bytes) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<int>(std::count(begin, begin + static_cast<std::ptrdiff_t>(bytes), '\n'));
    at_ += bytes;
    if (bytes != 0) line_starting_ = source_[at_ - 1] == '\n';
  }
  void skip_space() { advance(rest().size() - strip(rest(), Side::kLeft, {}).size()); }
  Status fail(std::string_view what) const { return invalid_argument("line {}: {}", line_, what); }

  // Literal text and the beginning of the tag that ends it.
  Status lex_data() {
    std::size_t begin = at_;
    while (begin = source_.find('{', begin), begin != std::string::npos) {
      const char next = begin + 1 < source_.size() ? source_[begin + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') break;
      ++begin;
    }
    if (begin == std::string::npos) {
      push(TokenKind::kData, rest());
      advance(rest().size());
      return {};
    }
    const char opener = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    push_data(rest().substr(0, begin - at_), sign, opener != '{');
    advance(begin - at_ + 2);
    if (sign == '-' || sign == '+') advance(1);
    if (opener == '#') return skip_comment();
    if (opener == '{') return lex_tag(TokenKind::kVariableBegin);
    if (const std::size_t end = raw_tag_end(); end != 0) {
      advance(end);
      return lex_raw();
    }
    return lex_tag(TokenKind::kBlockBegin);
  }

  // Text before a tag: "{%-" takes all whitespace before it, "{%" and "{#" what indents them.
  void push_data(std::string_view text, char sign, bool is_block) {
    if (sign == '-') {
      text = strip(text, Side::kRight, {});
    } else if (sign != '+' && is_block) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) &&
          strip(text.substr(line_begin), Side::kLeft, {}).empty()) {
        text = text.substr(0, line_begin);
      }
    }
    if (!text.empty()) push(TokenKind::kData, text);
  }

  // After the end mark of a block or a comment.
  void finish_block(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && starts("\n")) {
      advance(1);
    }
  }

  Status skip_comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return fail("a comment has no end: '#}' is missing");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end + 2 - at_);
    finish_block(sign);
    return {};
  }

  // The bytes of " raw %}" after "{%", or 0 if this is another tag. Whitespace after "-%}" belongs
  // to it.
  [[nodiscard]] std::size_t raw_tag_end() const {
    const std::string_view text = strip(rest(), Side::kLeft, {});
    if (text.substr(0, 3) != "raw") return 0;
    std::string_view after = strip(text.substr(3), Side::kLeft, {});
    if (after.substr(0, 2) == "%}") return rest().size() - after.size() + 2;
    if (after.substr(0, 3) != "-%}") return 0;
    after = strip(after.substr(3), Side::kLeft, {});
    return rest().size() - after.size();
  }

  Status lex_raw() {
    for (std::size_t begin = at_; begin = source_.find("{%", begin), begin != std::string::npos;
         begin += 2) {
      std::string_view tag = std::string_view(source_).substr(begin + 2);
      const char sign = tag.empty() ? '\0' : tag.front();
      if (sign == '-' || sign == '+') tag.remove_prefix(1);
      tag = strip(tag, Side::kLeft, {});
      if (tag.substr(0, 6) != "endraw") continue;
      tag = strip(tag.substr(6), Side::kLeft, {});
      const char end_sign = tag.empty() ? '\0' : tag.front();
      if (end_sign == '-' || end_sign == '+') tag.remove_prefix(1);
      if (tag.substr(0, 2) != "%}") continue;
      push_data(rest().substr(0, begin - at_), sign, true);
      advance(source_.size() - tag.size() + 2 - at_);
      finish_block(end_sign);
      return {};
    }
    return fail("a raw block has no end: '{% endraw %}' is missing");
  }

  Status lex_tag(TokenKind begin) {
    push(begin);
    const int opening_line = line_;
    const bool is_block = begin == TokenKind::kBlockBegin;
    const std::string_view end = is_block ? "%}" : "}}";
    brackets_.clear();
    while (true) {
      skip_space();
      if (at_ == source_.size()) {
        return invalid_argument("line {}: a tag has no end: '{}' is missing", opening_line, end);
      }
      if (brackets_.empty()) {
        const char sign =
            source_[at_] == '-' || (is_block && source_[at_] == '+') ? source_[at_] : '\0';
        if (rest().substr(sign == '\0' ? 0 : 1, 2) == end) {
          push(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd);
          advance(sign == '\0' ? 2 : 3);
          if (is_block) {
            finish_block(sign);
          } else if (sign == '-') {
            skip_space();
          }
          return {};
        }
      }
      ONEBEAT_RETURN_IF_ERROR(lex_token());
    }
  }

  Status lex_token() {
    const char c = source_[at_];
    if (is_name_start(c)) return lex_name();
    if (is_digit(c)) return lex_number();
    if (c == '\'' || c == '"') return lex_string(c);
    return lex_operator();
  }

  Status lex_name() {
    std::size_t size = 1;
    while (size < rest().size() && (is_name_start(rest()[size]) || is_digit(rest()[size]))) ++size;
    push(TokenKind::kName, rest().substr(0, size));
    advance(size);
    return {};
  }

  Status lex_number() {
    // After a dot, digits are a position ("a.0.1"), not the beginning of a fraction.
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    NumberLiteral number;
    if (const char* problem = read_number(rest(), !after_dot, number); problem != nullptr) {
      return fail(problem);
    }
    Token& token = push(number.is_float ? TokenKind::kFloat : TokenKind::kInteger);
    token.integer = number.integer;
    token.number = number.number;
    advance(number.bytes);
    return {};
  }

  Status lex_string(char quote) {
    std::size_t end = 1;
    while (end < rest().size() && rest()[end] != quote) end += rest()[end] == '\\' ? 2 : 1;
    if (end >= rest().size()) return fail("a string has no end: its closing quote is missing");
    std::string text;
    if (const char* problem = unescape(rest().substr(1, end - 1), text); problem != nullptr) {
      return fail(problem);
    }
    push(TokenKind::kString, text);
    advance(end + 1);
    return {};
  }

  Status lex_operator() {
    static constexpr std::array<std::string_view, 6> kDouble = {"//", "**", "==", "!=", "<=", ">="};
    for (const std::string_view text : kDouble) {
      if (starts(text)) {
        push(TokenKind::kOperator, text);
        advance(2);
        return {};
      }
    }
    const char c = source_[at_];
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      const std::string_view character = rest().substr(0, first_code_point(rest()).bytes);
      return invalid_argument("line {}: unexpected character '{}'", line_, character);
    }
    ONEBEAT_RETURN_IF_ERROR(balance(c));
    push(TokenKind::kOperator, rest().substr(0, 1));
    advance(1);
    return {};
  }

  Status balance(char c) {
    if (c == '(') brackets_.push_back(')');
    if (c == '[') brackets_.push_back(']');
    if (c == '{') brackets_.push_back('}');
    if (c != ')' && c != ']' && c != '}') return {};
    if (brackets_.empty()) return invalid_argument("line {}: unexpected '{}'", line_, c);
    const char expected = brackets_.back();
    brackets_.pop_back();
    if (c == expected) return {};
    return invalid_argument("line {}: unexpected '{}' where '{}' is expected", line_, c, expected);
  }

  std::string source_;
  std::vector<Token> tokens_;
  std::string brackets_;  // The closing brackets that are expected, the innermost last.
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // Whether the last match of the lexer ended with a line end.
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(normalize(source)).run();
}

}  // namespace onebeat::jinja
