// SPDX-License-Identifier: Apache-2.0
// Status and Result<T>: how every public call of Onebeat reports failure. No exception crosses a
// public header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

static_assert(__cplusplus >= 202002L, "Onebeat needs C++20");

namespace onebeat {

/// What kind of failure a Status describes. Callers branch on the code and show the message.
enum class StatusCode : std::uint8_t {
  kOk = 0,
  kInvalidArgument,    ///< The caller passed something that can never work.
  kOutOfRange,         ///< A value is beyond a stated limit (length, index, capacity).
  kNotFound,           ///< A file, a model or an entry does not exist.
  kUnsupported,        ///< Valid, but nothing here implements it.
  kResourceExhausted,  ///< Memory, pages or queue places ran out; trying later may work.
  kPlanMismatch,       ///< A plan was made for another geometry or for inputs that have moved on.
  kDataLoss,           ///< A file is truncated, damaged or hostile.
  kUnavailable,        ///< A device, a network or a permission is missing.
  kDeviceLost,         ///< The device failed for good; nothing more can run on it.
  kCancelled,          ///< The caller or the user asked to stop.
  kInternal,           ///< A fault of Onebeat.
};

/// The code's name in lower case with underscores, such as "plan_mismatch". Static storage.
[[nodiscard]] std::string_view to_string(StatusCode code);

/// Success, or a code with one clear message that names the value, the limit and the remedy.
/// A success holds no memory; a Status is a value and may be copied between threads.
class [[nodiscard]] Status {
 public:
  /// Success.
  Status() = default;
  /// Failure; `code` must not be kOk.
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const { return code_ == StatusCode::kOk; }
  [[nodiscard]] StatusCode code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }

  /// The same failure with `context` and a colon put before its message; a success stays a success.
  [[nodiscard]] Status with_context(std::string_view context) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

/// "ok", or the code's name, a colon and the message.
[[nodiscard]] std::string to_string(const Status& status);

/// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value)
      : state_(std::in_place_index<1>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  /// `status` must be a failure.
  Result(Status status)
      : state_(std::in_place_index<0>, std::move(status)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return state_.index() == 1; }
  [[nodiscard]] Status status() const { return ok() ? Status() : std::get<0>(state_); }

  /// Requires: ok().
  [[nodiscard]] T& value() & { return *std::get_if<1>(&state_); }
  [[nodiscard]] const T& value() const& { return *std::get_if<1>(&state_); }
  /// By value, so that a loop over the value of a temporary has something to hold on to.
  [[nodiscard]] T value() && { return std::move(*std::get_if<1>(&state_)); }
  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace onebeat

#define ONEBEAT_CONCAT_INNER(a, b) a##b
#define ONEBEAT_CONCAT(a, b) ONEBEAT_CONCAT_INNER(a, b)

/// Returns from the enclosing function with the failure, if `expression` is one.
#define ONEBEAT_RETURN_IF_ERROR(expression)                                      \
  do {                                                                           \
    if (::onebeat::Status onebeat_status_ = (expression); !onebeat_status_.ok()) \
      return onebeat_status_;                                                    \
  } while (false)

/// Evaluates `expression`, a Result<T>; returns its failure, or moves its value into `declaration`.
#define ONEBEAT_ASSIGN_OR_RETURN(declaration, expression) \
  ONEBEAT_ASSIGN_OR_RETURN_IMPL(ONEBEAT_CONCAT(onebeat_result_, __LINE__), declaration, expression)
#define ONEBEAT_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                          \
  if (!result.ok()) return result.status();                            \
  declaration = std::move(result).value()
