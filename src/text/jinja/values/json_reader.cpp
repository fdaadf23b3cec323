// SPDX-License-Identifier: Apache-2.0
// Reads JSON into values: what servers receive, and what tests are written in.
#include <charconv>

#include "base/error.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

class JsonReader {
 public:
  JsonReader(Budget& budget, std::string_view text) : budget_(budget), text_(text) {}

  Result<Value> read_document() {
    ONEBEAT_ASSIGN_OR_RETURN(Value value, read_value(0));
    skip_space();
    if (at_ != text_.size()) return fail("unexpected text after the value");
    return value;
  }

 private:
  Status fail(std::string_view what) const {
    return invalid_argument("JSON, byte {}: {}", at_, what);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || (text_[at_] >= 9 && text_[at_] <= 13)))
      ++at_;
  }
  bool skip(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool skip_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Result<Value> read_value(int depth) {
    if (depth > kMaxValueDepth)
      return fail(fmt::format("nested more than {} deep", kMaxValueDepth));
    skip_space();
    if (at_ == text_.size()) return fail("a value is missing");
    switch (text_[at_]) {
      case '{':
        return read_object(depth);
      case '[':
        return read_array(depth);
      case '"': {
        std::string text;
        ONEBEAT_RETURN_IF_ERROR(read_string(text));
        return make_text(budget_, std::move(text));
      }
      default:
        break;
    }
    if (skip_word("true")) return Value::of(true);
    if (skip_word("false")) return Value::of(false);
    if (skip_word("null")) return Value();
    return read_number();
  }

  Result<Value> read_number() {
    const std::size_t size =
        std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size()) - at_;
    const char* begin = text_.data() + at_;
    const char* end = begin + size;
    std::int64_t integer = 0;
    if (const auto [last, code] = std::from_chars(begin, end, integer);
        size != 0 && code == std::errc() && last == end) {
      at_ += size;
      return Value::of(integer);
    }
    double number = 0;
    const auto [last, code] = std::from_chars(begin, end, number);
    if (size == 0 || code != std::errc() || last != end) return fail("this is no value");
    at_ += size;
    return Value::of(number);
  }

  Result<Value> read_array(int depth) {
    ++at_;
    std::vector<Value> items;
    if (!skip(']')) {
      do {
        ONEBEAT_ASSIGN_OR_RETURN(Value item, read_value(depth + 1));
        items.push_back(std::move(item));
        ONEBEAT_RETURN_IF_ERROR(budget_.allow_elements(items.size()));
      } while (skip(','));
      if (!skip(']')) return fail("expected ',' or ']'");
    }
    return make_list(budget_, std::move(items));
  }

  Result<Value> read_object(int depth) {
    ++at_;
    std::vector<Dict::Item> items;
    if (!skip('}')) {
      do {
        skip_space();
        std::string key;
        ONEBEAT_RETURN_IF_ERROR(read_string(key));
        if (!skip(':')) return fail("expected ':'");
        ONEBEAT_ASSIGN_OR_RETURN(Value value, read_value(depth + 1));
        items.emplace_back(std::move(key), std::move(value));
        ONEBEAT_RETURN_IF_ERROR(budget_.allow_elements(items.size()));
      } while (skip(','));
      if (!skip('}')) return fail("expected ',' or '}'");
    }
    return make_dict(budget_, std::move(items));
  }

  Status read_string(std::string& out) {
    if (at_ == text_.size() || text_[at_] != '"') return fail("a string is expected");
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (static_cast<unsigned char>(text_[at_]) < 0x20)
        return fail("a control character in a string");
      if (text_[at_] == '\\') {
        ONEBEAT_RETURN_IF_ERROR(read_escape(out));
      } else {
        out.push_back(text_[at_++]);
      }
    }
    if (at_ == text_.size()) return fail("a string has no end");
    ++at_;
    return budget_.spend(out.size());
  }

  Status read_escape(std::string& out) {
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    const std::size_t known = std::string_view("\"\\/bfnrt").find(c);
    if (c != '\0' && known != std::string_view::npos) {
      out.push_back("\"\\/\b\f\n\r\t"[known]);
      at_ += 2;
      return {};
    }
    char32_t value = 0;
    ONEBEAT_RETURN_IF_ERROR(read_unit(value));
    if (value >= 0xd800 && value <= 0xdbff && text_.substr(at_, 2) == "\\u") {
      char32_t low = 0;
      ONEBEAT_RETURN_IF_ERROR(read_unit(low));
      if (low < 0xdc00 || low > 0xdfff) return fail("half of a surrogate pair");
      value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
    }
    if (value >= 0xd800 && value <= 0xdfff) return fail("half of a surrogate pair");
    append_code_point(value, out);
    return {};
  }

  // \uXXXX
  Status read_unit(char32_t& value) {
    unsigned unit = 0;
    const std::string_view digits = text_.substr(std::min(at_ + 2, text_.size()), 4);
    const auto [end, code] =
        std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (text_.substr(at_, 2) != "\\u" || digits.size() != 4 || code != std::errc() ||
        end != digits.data() + 4) {
      return fail("a wrong escape in a string");
    }
    value = unit;
    at_ += 6;
    return {};
  }

  Budget& budget_;
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<Value> read_json(Budget& budget, std::string_view text) {
  return JsonReader(budget, text).read_document();
}

}  // namespace onebeat::jinja
