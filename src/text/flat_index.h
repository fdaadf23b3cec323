// SPDX-License-Identifier: Apache-2.0
// A hash table from texts to ids that owns no texts: open addressing over the ids, filled once.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace onebeat {

/// A 64-bit hash of a short text; not for hostile keys in numbers that could hurt.
[[nodiscard]] inline std::uint64_t hash_text(std::string_view text) {
  constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15U;
  std::uint64_t hash = text.size() * kMultiplier;
  const char* at = text.data();
  std::size_t left = text.size();
  const auto mix = [&](std::uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  std::uint64_t tail = 0;
  if (left != 0) std::memcpy(&tail, at, left);
  mix(tail);
  return hash;
}

/// Maps texts to ids. `TextOf(id)` gives the text of an id that has been inserted.
class FlatIndex {
 public:
  /// A table for up to `capacity` texts.
  explicit FlatIndex(std::size_t capacity = 0)
      : slots_(std::bit_ceil(capacity + capacity / 2 + 1)), mask_(slots_.size() - 1) {}

  /// Inserts `text` with `id` unless the text is already there.
  template <typename TextOf>
  void insert(std::string_view text, std::int32_t id, TextOf&& text_of) {
    const std::uint64_t hash = hash_text(text);
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.id < 0) {
        slot = {static_cast<std::uint32_t>(hash >> 32), id};
        return;
      }
      if (slot.tag == static_cast<std::uint32_t>(hash >> 32) && text_of(slot.id) == text) return;
    }
  }

  /// The id of `text`, or -1.
  template <typename TextOf>
  [[nodiscard]] std::int32_t find(std::string_view text, TextOf&& text_of) const {
    const std::uint64_t hash = hash_text(text);
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return -1;
      if (slot.tag == static_cast<std::uint32_t>(hash >> 32) && text_of(slot.id) == text)
        return slot.id;
    }
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::int32_t id = -1;
  };
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
};

}  // namespace onebeat
