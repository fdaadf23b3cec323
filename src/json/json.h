// SPDX-License-Identifier: Apache-2.0
// JSON from files that nobody vouches for: read whole, strictly and within limits, then looked at
// through typed getters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// What a value is. Numbers without fraction and exponent that fit 64 bits are integers.
enum class JsonKind : std::uint8_t { kNull, kBool, kInteger, kReal, kString, kArray, kObject };

/// "an object", "a string", ...; static storage.
[[nodiscard]] std::string_view to_string(JsonKind kind);

/// What a text may hold before it is refused.
struct JsonLimits {
  std::size_t max_bytes = std::size_t{64} << 20;  ///< At most 4 GiB - 1.
  std::size_t max_depth = 32;                     ///< Arrays and objects inside each other.
  std::size_t max_values = std::size_t{4} << 20;  ///< Values of all kinds; each takes 24 bytes.
};

class JsonDocument;

/// One value of a document: a handle, cheap to copy, valid as long as the document.
class JsonValue {
 public:
  [[nodiscard]] JsonKind kind() const;
  [[nodiscard]] bool is(JsonKind kind_asked) const { return kind() == kind_asked; }

  /// The value as T: bool, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, float, double
  /// or std::string_view. Any integer serves for an integer T that holds it, any number for float
  /// and double. Errors: kInvalidArgument, with what is there and what is needed.
  template <typename T>
  [[nodiscard]] Result<T> as() const;

  /// Elements of an array or members of an object; 0 for everything else.
  [[nodiscard]] std::size_t size() const;
  /// Element of an array or value of a member. Requires: index < size().
  [[nodiscard]] JsonValue at(std::size_t index) const;
  /// Name of a member; members are sorted by the bytes of their names. Requires: an object, index <
  /// size().
  [[nodiscard]] std::string_view name(std::size_t index) const;

  /// The member of this name; nothing if there is none or this is no object.
  [[nodiscard]] std::optional<JsonValue> find(std::string_view member) const;

  /// The member as T. Errors: kNotFound without the member, kInvalidArgument where it does not fit;
  /// both name it.
  template <typename T>
  [[nodiscard]] Result<T> required(std::string_view member) const;
  /// The same, but `fallback` if there is no such member or it is null. A value that does not fit
  /// is still an error.
  template <typename T>
  [[nodiscard]] Result<T> optional(std::string_view member, T fallback) const;

 private:
  friend class JsonDocument;
  JsonValue(const JsonDocument* document, std::uint32_t node) : document_(document), node_(node) {}

  const JsonDocument* document_ = nullptr;
  std::uint32_t node_ = 0;
};

/// A parsed text; owns all that its values show. Values are bound to the address of the document,
/// so it cannot be moved once they exist: keep it where it was put.
class JsonDocument {
 public:
  /// Reads a whole text: JSON as the standard has it, UTF-8, no comments, no member twice.
  /// Errors start with `name`: kDataLoss with the position for what is not JSON, kOutOfRange for
  /// what is beyond the limits, kResourceExhausted without memory.
  static Result<JsonDocument> parse(std::string_view text, std::string_view name,
                                    const JsonLimits& limits = {});

  [[nodiscard]] JsonValue root() const {
    return {this, static_cast<std::uint32_t>(nodes_.size() - 1)};
  }

 private:
  friend class JsonValue;
  friend class JsonBuilder;

  /// A value. Texts are places in the arena; children of one array or object lie side by side.
  struct Node {
    std::uint32_t key_begin = 0;  // Of a member's name.
    std::uint32_t key_size = 0;
    std::uint64_t bits = 0;  // The number, or begin and size << 32 of text or children.
    JsonKind kind = JsonKind::kNull;
    bool negative = false;  // Of an integer: `bits` is signed.
  };
  static_assert(sizeof(Node) == 24);

  JsonDocument() = default;
  [[nodiscard]] std::string_view text(std::uint32_t begin, std::uint32_t size) const {
    return std::string_view(arena_.data(), arena_.size()).substr(begin, size);
  }
  [[nodiscard]] std::string_view key(const Node& node) const {
    return text(node.key_begin, node.key_size);
  }

  std::vector<char> arena_;
  std::vector<Node> nodes_;  // The root is the last.
};

}  // namespace onebeat
