// SPDX-License-Identifier: Apache-2.0
// Shows a reply as it comes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/thinking_text.h"

namespace onebeat::cli {

/// To a pipe exactly the text. To a terminal without what it would take for commands and, where
/// colours may be, with the thinking dim and without its tags.
class ReplyView {
 public:
  ReplyView(bool terminal, bool colours, bool begins_inside)
      : terminal_(terminal), colours_(colours), thinking_(begins_inside) {}

  void append(std::string_view piece);
  /// Ends the line and whatever colour there is.
  void finish();

 private:
  void show(const std::vector<ThinkingText::Part>& parts);
  void write(std::string_view text);

  bool terminal_;
  bool colours_;
  ThinkingText thinking_;
  bool dim_ = false;
  bool line_ended_ = true;
};

}  // namespace onebeat::cli
