// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/printing.h"

#include <utf8proc.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "text/jinja/values/python_text.h"

namespace onebeat::jinja {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  const std::string_view scientific(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t mark = scientific.find('e');
  int exponent = 0;
  const char* first = scientific.data() + mark + 1;
  if (*first == '+') ++first;
  std::from_chars(first, scientific.data() + scientific.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(scientific);

  std::array<char, 64> fixed{};
  const auto fixed_end =
      std::to_chars(fixed.data(), fixed.data() + fixed.size(), value, std::chars_format::fixed).ptr;
  std::string text(fixed.data(), fixed_end);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

namespace {

bool is_printable(char32_t value) {
  if (value < 0x7f) return value >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void append_string_repr(std::string_view text, std::string& out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out.push_back(quote);
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    const char32_t c = point.value;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(text.substr(0, point.bytes));
    } else if (c <= 0xff) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else if (c <= 0xffff) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<unsigned>(c));
    }
    text.remove_prefix(point.bytes);
  }
  out.push_back(quote);
}

Status append_repr(Budget& budget, const Value& value, std::string& out) {
  ONEBEAT_RETURN_IF_ERROR(budget.spend());
  ONEBEAT_RETURN_IF_ERROR(budget.check_text(out.size()));
  if (value.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend(value.text().size()));
    append_string_repr(value.text(), out);
    return {};
  }
  if (value.is_undefined()) {
    out += "Undefined";
    return {};
  }
  if (value.is_list()) {
    const List& list = value.list();
    out.push_back(list.tuple ? '(' : '[');
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) out += ", ";
      ONEBEAT_RETURN_IF_ERROR(append_repr(budget, list.items[i], out));
    }
    if (list.tuple && list.items.size() == 1) out.push_back(',');
    out.push_back(list.tuple ? ')' : ']');
    return {};
  }
  if (value.is_dict()) {
    out.push_back('{');
    bool first = true;
    for (const auto& [key, item] : value.dict().items) {
      if (!std::exchange(first, false)) out += ", ";
      ONEBEAT_RETURN_IF_ERROR(budget.spend(key.size()));
      append_string_repr(key, out);
      out += ": ";
      ONEBEAT_RETURN_IF_ERROR(append_repr(budget, item, out));
    }
    out.push_back('}');
    return {};
  }
  return append_text(budget, value, out);
}

}  // namespace

Status append_text(Budget& budget, const Value& value, std::string& out) {
  if (value.is_undefined()) return {};
  if (value.is_none()) {
    out += "None";
  } else if (const bool* flag = value.get_if<bool>()) {
    out += *flag ? "True" : "False";
  } else if (const auto* integer = value.get_if<std::int64_t>()) {
    out += std::to_string(*integer);
  } else if (const auto* number = value.get_if<double>()) {
    out += float_text(*number);
  } else if (value.is_text()) {
    ONEBEAT_RETURN_IF_ERROR(budget.spend(value.text().size()));
    ONEBEAT_RETURN_IF_ERROR(budget.check_text(out.size() + value.text().size()));
    out += value.text();
  } else if (value.is_list() || value.is_dict()) {
    return append_repr(budget, value, out);
  } else {
    return unsupported("{} cannot be printed", value.type_name());
  }
  return {};
}

Result<std::string> to_text(Budget& budget, const Value& value) {
  std::string out;
  ONEBEAT_RETURN_IF_ERROR(append_text(budget, value, out));
  return out;
}

}  // namespace onebeat::jinja
