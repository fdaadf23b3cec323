// SPDX-License-Identifier: Apache-2.0
// Boost.JSON's parser does the lexing; its events become a flat tree. Children wait on a stack
// until their array or object ends, then move to the nodes side by side, so a document is two
// allocations. Invariant: the arena is reserved for the whole text, which no sum of unescaped
// strings exceeds.
#include "json/json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/quoted.h"

namespace onebeat {

/// Receives the events of the parser; the names are the parser's.
class JsonBuilder {
 public:
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;
  using Node = JsonDocument::Node;
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  JsonBuilder(JsonDocument& document, std::size_t max_values)
      : document_(document), max_values_(max_values) {}

  /// Why the builder stopped the parser, if it did.
  Status failure;

  bool on_document_begin(error_code& /*ec*/) { return true; }
  bool on_document_end(error_code& /*ec*/) {
    document_.nodes_.push_back(stack_.back());
    return true;
  }
  bool on_array_begin(error_code& /*ec*/) { return true; }
  bool on_object_begin(error_code& /*ec*/) { return true; }
  bool on_array_end(std::size_t count, error_code& ec) {
    return end_container(JsonKind::kArray, count, ec);
  }
  bool on_object_end(std::size_t count, error_code& ec) {
    return end_container(JsonKind::kObject, count, ec);
  }
  bool on_string_part(string_view part, std::size_t /*size*/, error_code& /*ec*/) {
    return append(part);
  }
  bool on_string(string_view part, std::size_t size, error_code& ec) {
    append(part);
    return push({.bits = range(text_end() - size, size), .kind = JsonKind::kString}, ec);
  }
  bool on_key_part(string_view part, std::size_t /*size*/, error_code& /*ec*/) {
    return append(part);
  }
  bool on_key(string_view part, std::size_t size, error_code& /*ec*/) {
    append(part);
    keys_.push_back(range(text_end() - size, size));
    return true;
  }
  bool on_number_part(string_view part, error_code& /*ec*/) {
    number_.append(part.data(), part.size());
    return true;
  }
  bool on_int64(std::int64_t value, string_view /*rest*/, error_code& ec) {
    number_.clear();
    return push({.bits = static_cast<std::uint64_t>(value),
                 .kind = JsonKind::kInteger,
                 .negative = value < 0},
                ec);
  }
  bool on_uint64(std::uint64_t value, string_view /*rest*/, error_code& ec) {
    number_.clear();
    return push({.bits = value, .kind = JsonKind::kInteger}, ec);
  }
  bool on_double(double /*approximate*/, string_view rest, error_code& ec) {
    // The parser's own value may be off in the last bit.
    number_.append(rest.data(), rest.size());
    double exact = 0;
    const auto [end, error] =
        std::from_chars(number_.data(), number_.data() + number_.size(), exact);
    if (error != std::errc() || end != number_.data() + number_.size()) {
      return stop(out_of_range("the number {} cannot be held", quoted(number_)), ec);
    }
    number_.clear();
    Node node{.kind = JsonKind::kReal};
    std::memcpy(&node.bits, &exact, sizeof(exact));
    return push(node, ec);
  }
  bool on_bool(bool value, error_code& ec) {
    return push({.bits = value ? 1U : 0U, .kind = JsonKind::kBool}, ec);
  }
  bool on_null(error_code& ec) { return push({.kind = JsonKind::kNull}, ec); }
  bool on_comment_part(string_view /*part*/, error_code& /*ec*/) { return true; }
  bool on_comment(string_view /*part*/, error_code& /*ec*/) { return true; }

 private:
  static std::uint64_t range(std::size_t begin, std::size_t size) {
    return static_cast<std::uint64_t>(begin) | static_cast<std::uint64_t>(size) << 32;
  }
  [[nodiscard]] std::size_t text_end() const { return document_.arena_.size(); }

  bool append(string_view part) {
    document_.arena_.insert(document_.arena_.end(), part.begin(), part.end());
    return true;
  }
  bool stop(Status status, error_code& ec) {
    failure = std::move(status);
    ec = boost::json::error::syntax;  // Any error; `failure` is what counts.
    return false;
  }
  bool push(const Node& node, error_code& ec) {
    if (++count_ > max_values_) {
      return stop(out_of_range("more than {} values; that is the limit", max_values_), ec);
    }
    stack_.push_back(node);
    return true;
  }

  /// Moves the last `count` values of the stack behind the nodes. Of an object, the last `count`
  /// keys are theirs: those of inner objects have been taken off before.
  bool end_container(JsonKind kind, std::size_t count, error_code& ec) {
    const auto children = stack_.end() - static_cast<std::ptrdiff_t>(count);
    if (kind == JsonKind::kObject) {
      const auto keys = keys_.end() - static_cast<std::ptrdiff_t>(count);
      for (std::size_t i = 0; i < count; ++i) {
        Node& child = children[static_cast<std::ptrdiff_t>(i)];
        const std::uint64_t key = keys[static_cast<std::ptrdiff_t>(i)];
        child.key_begin = static_cast<std::uint32_t>(key);
        child.key_size = static_cast<std::uint32_t>(key >> 32);
      }
      keys_.erase(keys, keys_.end());
      std::sort(children, stack_.end(), [this](const Node& a, const Node& b) {
        return document_.key(a) < document_.key(b);
      });
      const auto twice = std::adjacent_find(
          children, stack_.end(),
          [this](const Node& a, const Node& b) { return document_.key(a) == document_.key(b); });
      if (twice != stack_.end()) {
        return stop(
            data_loss("the name {} appears twice in one object", quoted(document_.key(*twice))),
            ec);
      }
    }
    const std::size_t first = document_.nodes_.size();
    document_.nodes_.insert(document_.nodes_.end(), children, stack_.end());
    stack_.erase(children, stack_.end());
    return push({.bits = range(first, count), .kind = kind}, ec);
  }

  JsonDocument& document_;
  std::size_t max_values_;
  std::size_t count_ = 0;
  std::vector<Node> stack_;
  std::vector<std::uint64_t> keys_;  // Begin and size << 32.
  std::string number_;
};

namespace {

template <typename T>
constexpr std::string_view needed() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, std::int32_t>) return "a 32-bit integer";
  if constexpr (std::is_same_v<T, std::uint32_t>) return "a 32-bit integer from 0 up";
  if constexpr (std::is_same_v<T, std::int64_t>) return "a 64-bit integer";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "a 64-bit integer from 0 up";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string_view>) return "a string";
}

template <typename T, typename Stored>
Result<T> narrowed(Stored stored) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(stored);
  } else {
    if (!std::in_range<T>(stored)) {
      return invalid_argument("it is {}; {} is needed", stored, needed<T>());
    }
    return static_cast<T>(stored);
  }
}

Status parse_error(std::string_view what, std::size_t position) {
  return data_loss("not valid JSON at byte {}: {}", position, what);
}

}  // namespace

Result<JsonDocument> JsonDocument::parse(std::string_view text, std::string_view name,
                                         const JsonLimits& limits) {
  constexpr std::size_t kLargest = std::numeric_limits<std::uint32_t>::max();
  const auto read = [&]() -> Result<JsonDocument> {
    if (const std::size_t limit = std::min(limits.max_bytes, kLargest); text.size() > limit) {
      return out_of_range("{} bytes of JSON; the limit is {}", text.size(), limit);
    }
    JsonDocument document;
    document.arena_.reserve(text.size());
    boost::json::parse_options options;
    options.max_depth = limits.max_depth;
    boost::json::basic_parser<JsonBuilder> parser(options, document,
                                                  std::min(limits.max_values, kLargest));
    boost::json::error_code error;
    const std::size_t consumed = parser.write_some(false, text.data(), text.size(), error);
    if (!parser.handler().failure.ok()) return parser.handler().failure;
    if (error == boost::json::error::too_deep) {
      return out_of_range("more than {} arrays and objects inside each other; that is the limit",
                          limits.max_depth);
    }
    if (error) return parse_error(error.message(), consumed);
    if (consumed < text.size()) return parse_error("more follows the end of the value", consumed);
    document.nodes_.shrink_to_fit();
    return document;
  };
  try {
    auto document = read();
    if (!document.ok()) return document.status().with_context(name);
    return document;
  } catch (const std::bad_alloc&) {
    return resource_exhausted("{}: no memory to read {} bytes of JSON", name, text.size());
  }
}

JsonKind JsonValue::kind() const {
  return document_->nodes_[node_].kind;
}

std::size_t JsonValue::size() const {
  const auto& node = document_->nodes_[node_];
  if (node.kind != JsonKind::kArray && node.kind != JsonKind::kObject) return 0;
  return static_cast<std::size_t>(node.bits >> 32);
}

JsonValue JsonValue::at(std::size_t index) const {
  ONEBEAT_CHECK(index < size());
  const auto first = static_cast<std::uint32_t>(document_->nodes_[node_].bits);
  return {document_, first + static_cast<std::uint32_t>(index)};
}

std::string_view JsonValue::name(std::size_t index) const {
  ONEBEAT_CHECK(kind() == JsonKind::kObject);
  return document_->key(document_->nodes_[at(index).node_]);
}

std::optional<JsonValue> JsonValue::find(std::string_view member) const {
  const auto& node = document_->nodes_[node_];
  if (node.kind != JsonKind::kObject) return std::nullopt;
  const auto first = document_->nodes_.begin() +
                     static_cast<std::ptrdiff_t>(static_cast<std::uint32_t>(node.bits));
  const auto last = first + static_cast<std::ptrdiff_t>(size());
  const auto found =
      std::lower_bound(first, last, member, [this](const auto& child, std::string_view wanted) {
        return document_->key(child) < wanted;
      });
  if (found == last || document_->key(*found) != member) return std::nullopt;
  return JsonValue(document_, static_cast<std::uint32_t>(found - document_->nodes_.begin()));
}

template <typename T>
Result<T> JsonValue::as() const {
  const auto& node = document_->nodes_[node_];
  if constexpr (std::is_same_v<T, std::string_view>) {
    if (node.kind == JsonKind::kString) {
      return document_->text(static_cast<std::uint32_t>(node.bits),
                             static_cast<std::uint32_t>(node.bits >> 32));
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    if (node.kind == JsonKind::kBool) return node.bits != 0;
  } else {
    if (node.kind == JsonKind::kInteger) {
      return node.negative ? narrowed<T>(static_cast<std::int64_t>(node.bits))
                           : narrowed<T>(node.bits);
    }
    if constexpr (std::is_floating_point_v<T>) {
      if (node.kind == JsonKind::kReal) {
        double real = 0;
        std::memcpy(&real, &node.bits, sizeof(real));
        if (real > static_cast<double>(std::numeric_limits<T>::max()) ||
            real < static_cast<double>(std::numeric_limits<T>::lowest())) {
          return invalid_argument("it is {}, which is beyond what can be held", real);
        }
        return static_cast<T>(real);
      }
    }
  }
  return invalid_argument("it is {}; {} is needed", to_string(node.kind), needed<T>());
}

template <typename T>
Result<T> JsonValue::required(std::string_view member) const {
  if (!is(JsonKind::kObject)) {
    return invalid_argument("{} is looked for in what is {}, not an object", quoted(member),
                            to_string(kind()));
  }
  const auto found = find(member);
  if (!found) return not_found("{} is missing", quoted(member));
  auto value = found->as<T>();
  if (!value.ok()) return value.status().with_context(quoted(member));
  return value;
}

template <typename T>
Result<T> JsonValue::optional(std::string_view member, T fallback) const {
  const auto found = find(member);
  if (!found || found->is(JsonKind::kNull)) return fallback;
  return required<T>(member);
}

#define ONEBEAT_JSON_GETTER(T)                                            \
  template Result<T> JsonValue::as<T>() const;                            \
  template Result<T> JsonValue::required<T>(std::string_view name) const; \
  template Result<T> JsonValue::optional<T>(std::string_view name, T fallback) const
ONEBEAT_JSON_GETTER(bool);
ONEBEAT_JSON_GETTER(std::int32_t);
ONEBEAT_JSON_GETTER(std::uint32_t);
ONEBEAT_JSON_GETTER(std::int64_t);
ONEBEAT_JSON_GETTER(std::uint64_t);
ONEBEAT_JSON_GETTER(float);
ONEBEAT_JSON_GETTER(double);
ONEBEAT_JSON_GETTER(std::string_view);
#undef ONEBEAT_JSON_GETTER

std::string_view to_string(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "true or false";
    case JsonKind::kInteger:
      return "an integer";
    case JsonKind::kReal:
      return "a number with a fraction";
    case JsonKind::kString:
      return "a string";
    case JsonKind::kArray:
      return "an array";
    case JsonKind::kObject:
      return "an object";
  }
  return "nothing known";
}

}  // namespace onebeat
