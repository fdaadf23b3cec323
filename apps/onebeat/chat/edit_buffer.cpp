// SPDX-License-Identifier: Apache-2.0
#include "chat/edit_buffer.h"

#include <utf8proc.h>

#include <algorithm>

namespace onebeat::cli {
namespace {

constexpr char kEscape = '\x1b';
constexpr char kInterruptKey = '\x03';  // Works even if the end of a paste got lost.

bool continues(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

/// Length of the escape sequence at the beginning; 0: its end has not come yet.
std::size_t sequence_length(std::string_view bytes) {
  if (bytes.size() < 2) return 0;
  if (bytes[1] == 'O') return bytes.size() < 3 ? 0 : 3;
  if (bytes[1] != '[') return 2;
  for (std::size_t i = 2; i < bytes.size(); ++i) {
    if (bytes[i] >= 0x40 && bytes[i] <= 0x7e) return i + 1;
  }
  return bytes.size() > 32 ? bytes.size() : 0;
}

/// Columns of the character that `text` begins with, and its bytes; one of each where it is none.
struct Shape {
  std::size_t bytes = 1;
  std::size_t columns = 1;
};

Shape shape_of(std::string_view text) {
  utf8proc_int32_t code = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (bytes <= 0) return {};
  return {static_cast<std::size_t>(bytes), static_cast<std::size_t>(utf8proc_charwidth(code))};
}

}  // namespace

std::size_t EditBuffer::feed(std::string_view bytes, bool last) {
  event_ = Event::kNone;
  std::size_t used = 0;
  while (used < bytes.size() && event_ == Event::kNone) {
    const std::string_view rest = bytes.substr(used);
    if (rest[0] == kEscape) {
      std::size_t length = sequence_length(rest);
      if (length == 0 && !last) return used;
      if (length == 0) length = rest.size();
      key(rest.substr(1, length - 1));
      used += length;
    } else if (pasting_ && (rest[0] == '\r' || rest[0] == '\n')) {
      // Terminals send a pasted line's end as a carriage return, some as both.
      const bool both = rest.starts_with("\r\n");
      insert("\n");
      used += both ? 2 : 1;
    } else if (static_cast<unsigned char>(rest[0]) >= 0x20 && rest[0] != 0x7f) {
      insert(rest.substr(0, 1));
      ++used;
    } else {
      const bool pasted = pasting_ && rest[0] != kInterruptKey;
      if (!pasted) control(rest[0]);
      if (pasted && rest[0] == '\t') insert("\t");
      ++used;
    }
  }
  return used;
}

void EditBuffer::start_over(const std::string& text) {
  if (!text.empty() && (history_.empty() || history_.back() != text)) history_.push_back(text);
  text_.clear();
  draft_.clear();
  cursor_ = 0;
  place_ = history_.size();
  event_ = Event::kNone;
  pasting_ = false;
}

void EditBuffer::key(std::string_view name) {
  if (name == "[200~") pasting_ = true;
  if (name == "[201~") pasting_ = false;
  if (pasting_) return;
  if (name == "[A") recall(place_ - 1);
  if (name == "[B") recall(place_ + 1);
  if (name == "[C") cursor_ = behind();
  if (name == "[D") cursor_ = before();
  if (name == "[1;5C" || name == "f") cursor_ = word_behind();
  if (name == "[1;5D" || name == "b") cursor_ = word_before();
  if (name == "[H" || name == "OH" || name == "[1~" || name == "[7~") cursor_ = 0;
  if (name == "[F" || name == "OF" || name == "[4~" || name == "[8~") cursor_ = text_.size();
  if (name == "[3~") erase(cursor_, behind());
  if (name == "\r" || name == "\n") insert("\n");  // Alt-Enter.
}

void EditBuffer::control(char byte) {
  const auto ctrl = [](char letter) { return static_cast<char>(letter & 0x1f); };
  if (byte == '\r' || byte == '\n') event_ = Event::kSubmit;
  if (byte == 0x7f || byte == ctrl('H')) erase(before(), cursor_);
  if (byte == ctrl('A')) cursor_ = 0;
  if (byte == ctrl('B')) cursor_ = before();
  if (byte == ctrl('E')) cursor_ = text_.size();
  if (byte == ctrl('F')) cursor_ = behind();
  if (byte == ctrl('K')) erase(cursor_, text_.size());
  if (byte == ctrl('N')) recall(place_ + 1);
  if (byte == ctrl('P')) recall(place_ - 1);
  if (byte == ctrl('U')) erase(0, cursor_);
  if (byte == ctrl('W')) erase(word_before(), cursor_);
  if (byte == kInterruptKey) event_ = Event::kInterrupt;
  if (byte == ctrl('Z')) event_ = Event::kSuspend;
  if (byte == ctrl('D')) {
    if (text_.empty()) {
      event_ = Event::kEnd;
    } else {
      erase(cursor_, behind());
    }
  }
}

void EditBuffer::insert(std::string_view bytes) {
  // Not insert(): GCC 12 warns of what is inside it.
  const std::string rest = text_.substr(cursor_);
  text_.resize(cursor_);
  text_.append(bytes);
  cursor_ = text_.size();
  text_.append(rest);
}

void EditBuffer::erase(std::size_t begin, std::size_t end) {
  text_.erase(begin, end - begin);
  cursor_ = begin;
}

void EditBuffer::recall(std::size_t place) {
  if (place > history_.size()) return;  // Also one before the first.
  if (place_ == history_.size()) draft_ = text_;
  place_ = place;
  text_ = place == history_.size() ? draft_ : history_[place];
  cursor_ = text_.size();
}

std::size_t EditBuffer::before() const {
  std::size_t at = cursor_;
  while (at > 0 && continues(text_[--at])) {
  }
  return at;
}

std::size_t EditBuffer::behind() const {
  std::size_t at = std::min(cursor_ + 1, text_.size());
  while (at < text_.size() && continues(text_[at])) ++at;
  return at;
}

std::size_t EditBuffer::word_before() const {
  std::size_t at = cursor_;
  while (at > 0 && text_[at - 1] == ' ') --at;
  while (at > 0 && text_[at - 1] != ' ') --at;
  return at;
}

std::size_t EditBuffer::word_behind() const {
  std::size_t at = cursor_;
  while (at < text_.size() && text_[at] == ' ') ++at;
  while (at < text_.size() && text_[at] != ' ') ++at;
  return at;
}

EditView view_of(std::string_view text, std::size_t cursor, std::size_t prompt_columns,
                 std::size_t columns) {
  struct Cell {
    std::string_view text;
    std::size_t begin;  // Column from the beginning of the text.
    std::size_t width;
  };
  std::vector<Cell> cells;
  std::size_t column = 0, cursor_at = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (i < cursor) cursor_at = cells.size() + 1;
    const auto first_byte = static_cast<unsigned char>(text[i]);
    const Shape shape = first_byte < 0x20 ? Shape() : shape_of(text.substr(i));
    std::string_view shown = text.substr(i, shape.bytes);
    if (first_byte < 0x20) shown = text[i] == '\n' ? "\xe2\x86\xb5" : " ";
    // A broken character, and what a terminal would take for a command.
    if (first_byte >= 0x80 && shape.bytes == 1) shown = "?";
    if (first_byte == 0xc2 && shape.columns == 0) shown = "";
    cells.push_back({shown, column, shape.columns});
    column += shape.columns;
    i += shape.bytes;
  }
  // One column is left for the cursor behind the last character.
  const std::size_t room = columns > prompt_columns + 8 ? columns - prompt_columns - 1 : 8;
  const std::size_t at = cursor_at < cells.size() ? cells[cursor_at].begin : column;
  std::size_t first = 0;
  while (first < cells.size() && at > cells[first].begin + room) ++first;
  const std::size_t begin = first < cells.size() ? cells[first].begin : 0;
  EditView view;
  for (std::size_t i = first; i < cells.size(); ++i) {
    if (cells[i].begin + cells[i].width > begin + room) break;
    view.shown.append(cells[i].text);
  }
  view.cursor_column = prompt_columns + at - begin;
  return view;
}

}  // namespace onebeat::cli
