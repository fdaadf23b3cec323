// SPDX-License-Identifier: Apache-2.0
// What a template may cost. Templates come from model files, which nobody has checked: every loop,
// every copy and every stored byte is charged here, and going beyond a limit ends the rendering.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "onebeat/status.h"

namespace onebeat::jinja {

/// The limits of one rendering. Those of the parser are constants (syntax/syntax.h).
struct Limits {
  /// Expressions and statements evaluated; work on long values counts one step per 64 bytes.
  std::uint64_t max_steps = 20'000'000;
  /// Bytes of the text that is written.
  std::size_t max_output_bytes = std::size_t{64} << 20;
  /// Bytes of a single string.
  std::size_t max_text_bytes = std::size_t{64} << 20;
  /// Elements of a single list or dict.
  std::size_t max_elements = 1'000'000;
  /// Bytes of all values alive at a time, the input's among them.
  std::size_t max_memory_bytes = std::size_t{256} << 20;
};

/// How deep a list or dict may be nested. Fixed, because it bounds the stack that walks need.
inline constexpr int kMaxValueDepth = 64;
/// How many evaluations may be inside one another, calls of macros included.
inline constexpr int kMaxEvaluationDepth = 400;

/// Counts the bytes of values that are alive. Shared by every value of a rendering, so that the
/// last of them may outlive the rest.
class Ledger {
 public:
  void add(std::size_t bytes) { bytes_ += bytes; }
  void remove(std::size_t bytes) { bytes_ -= bytes; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

/// A value's entry in the ledger: made with the value, struck out with it.
class LedgerEntry {
 public:
  LedgerEntry() = default;
  LedgerEntry(std::shared_ptr<Ledger> ledger, std::size_t bytes)
      : ledger_(std::move(ledger)), bytes_(bytes) {
    if (ledger_) ledger_->add(bytes_);
  }
  LedgerEntry(const LedgerEntry&) = delete;
  LedgerEntry& operator=(const LedgerEntry&) = delete;
  ~LedgerEntry() {
    if (ledger_) ledger_->remove(bytes_);
  }

 private:
  std::shared_ptr<Ledger> ledger_;
  std::size_t bytes_ = 0;
};

/// Spends the limits of one rendering. Errors are kResourceExhausted and name the limit.
class Budget {
 public:
  explicit Budget(const Limits& limits)
      : limits_(limits), ledger_(std::make_shared<Ledger>()), steps_left_(limits.max_steps) {}

  /// One step, and one more per 64 bytes of a value that is walked through.
  Status spend(std::size_t bytes = 0);
  /// While a text grows to `bytes`.
  [[nodiscard]] Status check_text(std::size_t bytes) const;
  /// Before a text of `bytes` is made.
  Status allow_text(std::size_t bytes);
  /// Before a list or a dict of `elements` is made, or while one grows.
  Status allow_elements(std::size_t elements);
  /// Before memory is taken that is given back only with the rendering.
  Status keep(std::size_t bytes);
  /// Before the output grows to `bytes`.
  Status allow_output(std::size_t bytes) const;

  [[nodiscard]] const std::shared_ptr<Ledger>& ledger() const { return ledger_; }

 private:
  Status allow_memory(std::size_t bytes) const;

  Limits limits_;
  std::shared_ptr<Ledger> ledger_;
  std::uint64_t steps_left_;
};

}  // namespace onebeat::jinja
