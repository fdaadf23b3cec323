// SPDX-License-Identifier: Apache-2.0
#include "text/special_matcher.h"

#include "base/check.h"
#include "base/error.h"
#include "text/utf8.h"

namespace onebeat {

std::int32_t SpecialMatcher::child_of(std::int32_t node, char byte) const {
  std::int32_t child = nodes_[static_cast<std::size_t>(node)].child;
  while (child >= 0 && nodes_[static_cast<std::size_t>(child)].byte != byte) {
    child = nodes_[static_cast<std::size_t>(child)].sibling;
  }
  return child;
}

Status SpecialMatcher::add(std::string_view text, std::int32_t id) {
  ONEBEAT_CHECK(!text.empty());
  if (text.size() > kMaxBytes) {
    return invalid_argument("special token {} has {} bytes; the limit is {}", id, text.size(),
                            kMaxBytes);
  }
  if (valid_prefix(text) != text.size()) {
    return invalid_argument("special token {} is not valid UTF-8", id);
  }
  begins_[static_cast<unsigned char>(text[0])] = true;
  std::int32_t node = 0;
  for (const char c : text) {
    std::int32_t next = child_of(node, c);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back({-1, nodes_[static_cast<std::size_t>(node)].child, -1, c});
      nodes_[static_cast<std::size_t>(node)].child = next;
    }
    node = next;
  }
  auto& end = nodes_[static_cast<std::size_t>(node)];
  if (end.id < 0) end.id = id;
  return {};
}

SpecialMatcher::Found SpecialMatcher::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
    Found longest{begin, 0, -1};
    std::int32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = child_of(node, text[i]);
      if (node < 0) break;
      if (const std::int32_t id = nodes_[static_cast<std::size_t>(node)].id; id >= 0) {
        longest = {begin, i + 1 - begin, id};
      }
    }
    if (longest.id >= 0) return longest;
  }
  return {text.size(), 0, -1};
}

}  // namespace onebeat
