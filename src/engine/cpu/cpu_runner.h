// SPDX-License-Identifier: Apache-2.0
// CpuRunner: a model's passes and a cache of its own, driven by hand, for those who want logits: a
// prompt is given in parts, decoding requests get a token each.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/cpu/cpu_forward.h"

namespace onebeat {

struct CpuRunnerOptions {
  ComputeMode mode = ComputeMode::kAuto;
  CpuIsa isa = CpuIsa::kPortable;
  KvType kv_type = KvType::kF16;
  std::int64_t context_tokens = 0;   ///< Longest request.
  std::int32_t max_requests = 1;     ///< Most requests at once; each can fill its context.
  std::int32_t prefill_chunk = 256;  ///< Most tokens of one prefill().
  std::int32_t max_output_rows =
      1;  ///< Most tokens of one pass whose logits are wanted; at least max_requests.
};

/// The next token of a request.
struct DecodeInput {
  std::int32_t request = 0;
  std::int32_t token = 0;
};

/// For one call at a time. After create() and the first passes nothing allocates.
class CpuRunner {
 public:
  /// `model` and `pool` must outlive it. Errors: kInvalidArgument, kOutOfRange, kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<CpuRunner>> create(const Model& model,
                                                                 const CpuRunnerOptions& options,
                                                                 ThreadPool& pool);

  /// A new, empty request. Errors: kResourceExhausted.
  [[nodiscard]] Result<std::int32_t> open_request();
  void close_request(std::int32_t request);
  /// Tokens of the request in the cache.
  [[nodiscard]] std::int32_t length(std::int32_t request) const {
    return lens_[static_cast<std::size_t>(request)];
  }

  /// Appends tokens to a request. Errors: kOutOfRange (too many, an id beyond the vocabulary),
  /// kResourceExhausted (no pages); the request is then as before.
  [[nodiscard]] Status prefill(std::int32_t request, std::span<const std::int32_t> tokens,
                               PromptLogits wanted);
  /// Appends one token to each of some requests, no request twice, and computes their logits.
  [[nodiscard]] Status decode(std::span<const DecodeInput> inputs);

  /// Of the last pass, in the order of its tokens: [rows, vocabulary].
  [[nodiscard]] ConstMatrix logits() const { return forward_->logits(); }
  [[nodiscard]] EngineCounters counters() const { return forward_->counters(); }

 private:
  explicit CpuRunner(const CpuRunnerOptions& options) : options_(options) {}
  [[nodiscard]] Status reserve(std::int32_t request, std::int64_t tokens);

  CpuRunnerOptions options_;
  std::unique_ptr<PagePool> pages_;
  std::unique_ptr<CpuForward> forward_;
  std::vector<std::int32_t> lens_;  // of each request
  std::vector<DecodeToken> decode_;
};

}  // namespace onebeat
