// SPDX-License-Identifier: Apache-2.0
// JSON as Python's json.dumps() writes it, to the byte: models were trained on that spelling.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja/values/printing.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style, std::string& out)
      : budget_(budget), style_(style), out_(out) {}

  Status write(const Value& value, int level) {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend());
    ONEBEAT_RETURN_IF_ERROR(budget_.check_text(out_.size()));
    if (value.is_none()) {
      out_ += "null";
    } else if (const bool* flag = value.get_if<bool>()) {
      out_ += *flag ? "true" : "false";
    } else if (const auto* integer = value.get_if<std::int64_t>()) {
      out_ += std::to_string(*integer);
    } else if (const auto* number = value.get_if<double>()) {
      write_float(*number);
    } else if (value.is_text()) {
      return write_string(value.text());
    } else if (value.is_list()) {
      return write_list(value.list(), level);
    } else if (value.is_dict()) {
      return write_dict(value.dict(), level);
    } else {
      return invalid_argument("{} cannot be written as JSON", value.type_name());
    }
    return {};
  }

 private:
  void write_float(double number) {
    if (std::isnan(number)) {
      out_ += "NaN";
    } else if (std::isinf(number)) {
      out_ += number > 0 ? "Infinity" : "-Infinity";
    } else {
      out_ += float_text(number);
    }
  }

  Status write_string(std::string_view text) {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend(text.size()));
    out_.push_back('"');
    while (!text.empty()) {
      const CodePoint point = first_code_point(text);
      write_character(point, text);
      text.remove_prefix(point.bytes);
    }
    out_.push_back('"');
    return {};
  }

  void write_character(CodePoint point, std::string_view text) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
    const char32_t c = point.value;
    const std::size_t special =
        c < 0x80 ? kSpecial.find(static_cast<char>(c)) : std::string_view::npos;
    if (special != std::string_view::npos) {
      out_.push_back('\\');
      out_.push_back("\"\\nrtfb"[special]);
    } else if (c < 0x20 || (style_.ensure_ascii && c >= 0x7f && c <= 0xffff && c != 0x7f)) {
      out_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else if (style_.ensure_ascii && c > 0xffff) {
      const auto pair = static_cast<unsigned>(c - 0x10000);
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xd800U + (pair >> 10), 0xdc00U + (pair & 0x3ff));
    } else {
      out_.append(text.substr(0, point.bytes));
    }
  }

  Status break_line(int level) {
    if (!style_.indent) return {};
    out_.push_back('\n');
    const std::size_t bytes = style_.indent->size() * static_cast<std::size_t>(level);
    ONEBEAT_RETURN_IF_ERROR(budget_.spend(bytes));
    ONEBEAT_RETURN_IF_ERROR(budget_.check_text(out_.size() + bytes));
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
    return {};
  }

  Status write_list(const List& list, int level) {
    out_.push_back('[');
    bool first = true;
    for (const Value& item : list.items) {
      if (!std::exchange(first, false)) ONEBEAT_RETURN_IF_ERROR(separate());
      ONEBEAT_RETURN_IF_ERROR(break_line(level + 1));
      ONEBEAT_RETURN_IF_ERROR(write(item, level + 1));
    }
    if (!first) ONEBEAT_RETURN_IF_ERROR(break_line(level));
    out_.push_back(']');
    return {};
  }

  Status write_dict(const Dict& dict, int level) {
    std::vector<const Dict::Item*> items;
    for (const Dict::Item& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::sort(items.begin(), items.end(),
                [](const Dict::Item* a, const Dict::Item* b) { return a->first < b->first; });
    }
    out_.push_back('{');
    bool first = true;
    for (const Dict::Item* item : items) {
      if (!std::exchange(first, false)) ONEBEAT_RETURN_IF_ERROR(separate());
      ONEBEAT_RETURN_IF_ERROR(break_line(level + 1));
      ONEBEAT_RETURN_IF_ERROR(write_string(item->first));
      ONEBEAT_RETURN_IF_ERROR(budget_.spend(style_.key_separator.size()));
      out_ += style_.key_separator;
      ONEBEAT_RETURN_IF_ERROR(write(item->second, level + 1));
    }
    if (!first) ONEBEAT_RETURN_IF_ERROR(break_line(level));
    out_.push_back('}');
    return {};
  }

  Status separate() {
    ONEBEAT_RETURN_IF_ERROR(budget_.spend(style_.item_separator.size()));
    out_ += style_.item_separator;
    return {};
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string& out_;
};

}  // namespace

Status append_json(Budget& budget, const Value& value, const JsonStyle& style, std::string& out) {
  return JsonWriter(budget, style, out).write(value, 0);
}

}  // namespace onebeat::jinja
