// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include "text/utf8.h"

namespace onebeat {

Status Detokenizer::append(std::int32_t id, std::string& text) {
  ONEBEAT_ASSIGN_OR_RETURN(std::string_view bytes, tokenizer_.token_bytes(id));
  if (bytes.empty() || (!show_special_ && tokenizer_.is_control(id))) return {};
  if (drop_space_ && bytes.starts_with(' ')) bytes.remove_prefix(1);
  drop_space_ = false;
  waiting_.append(bytes);
  waiting_.erase(0, append_valid(waiting_, false, text));
  return {};
}

void Detokenizer::finish(std::string& text) {
  append_valid(waiting_, true, text);
  waiting_.clear();
}

}  // namespace onebeat
