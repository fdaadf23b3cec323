// SPDX-License-Identifier: Apache-2.0
// The text of a message while it is typed, and what a terminal shows of it. Knows keys, but no
// terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onebeat::cli {

/// The text being edited and where the cursor is in it.
class EditBuffer {
 public:
  enum class Event : std::uint8_t { kNone, kSubmit, kEnd, kInterrupt, kSuspend };

  /// Takes bytes from the keyboard, up to the end of the line if they hold it, and returns how many
  /// it took; the beginning of a key's bytes is left for the next call unless `last`.
  std::size_t feed(std::string_view bytes, bool last);

  /// What the last byte that feed() took asked for.
  [[nodiscard]] Event event() const { return event_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::size_t cursor() const { return cursor_; }

  /// Begins an empty line; `text`, if it is not empty, joins the history.
  void start_over(const std::string& text);

 private:
  void key(std::string_view name);
  void control(char byte);
  void insert(std::string_view bytes);
  void erase(std::size_t begin, std::size_t end);
  void recall(std::size_t place);
  [[nodiscard]] std::size_t before() const;  // Where the character before the cursor begins.
  [[nodiscard]] std::size_t behind() const;  // Where the character at the cursor ends.
  [[nodiscard]] std::size_t word_before() const;
  [[nodiscard]] std::size_t word_behind() const;

  std::string text_;
  std::size_t cursor_ = 0;
  Event event_ = Event::kNone;
  bool pasting_ = false;
  std::vector<std::string> history_;
  std::size_t place_ = 0;  // In the history; its size: the line being written.
  std::string draft_;      // That line, while an older one is shown.
};

/// What a terminal of `columns` columns shows of a text after a prompt of `prompt_columns`: a part
/// around the cursor where it is too long. Line ends are shown as signs.
struct EditView {
  std::string shown;
  std::size_t cursor_column = 0;  ///< From the prompt's beginning.
};
[[nodiscard]] EditView view_of(std::string_view text, std::size_t cursor,
                               std::size_t prompt_columns, std::size_t columns);

}  // namespace onebeat::cli
