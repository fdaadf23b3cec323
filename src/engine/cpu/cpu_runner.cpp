// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/cpu_runner.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {

Result<std::unique_ptr<CpuRunner>> CpuRunner::create(const Model& model,
                                                     const CpuRunnerOptions& options,
                                                     ThreadPool& pool) {
  if (options.context_tokens < 1 || options.context_tokens > INT32_MAX - kCpuPageTokens) {
    return out_of_range("the context is {} tokens; it must be from 1 to {}", options.context_tokens,
                        INT32_MAX - kCpuPageTokens);
  }
  if (options.prefill_chunk < 1 || options.prefill_chunk > 65536) {
    return out_of_range("the prefill chunk is {} tokens; it must be from 1 to 65536",
                        options.prefill_chunk);
  }
  ONEBEAT_CHECK(options.max_requests >= 1 && options.max_output_rows >= options.max_requests);
  const std::int64_t row_pages = (options.context_tokens + kCpuPageTokens - 1) / kCpuPageTokens;
  const std::int64_t num_pages = row_pages * options.max_requests;
  if (num_pages > INT32_MAX / kCpuPageTokens) {
    return out_of_range("{} requests of {} tokens are more than the cache can number",
                        options.max_requests, options.context_tokens);
  }
  std::unique_ptr<CpuRunner> runner(new CpuRunner(options));
  ONEBEAT_ASSIGN_OR_RETURN(
      PagePool pages,
      PagePool::create({static_cast<std::int32_t>(num_pages), kCpuPageTokens, options.max_requests,
                        static_cast<std::int32_t>(row_pages)}));
  runner->pages_ = std::make_unique<PagePool>(std::move(pages));
  runner->lens_.resize(static_cast<std::size_t>(options.max_requests));
  runner->decode_.reserve(runner->lens_.size());

  CpuForwardOptions forward;
  forward.mode = options.mode;
  forward.isa = options.isa;
  forward.kv_type = options.kv_type;
  forward.context_tokens = options.context_tokens;
  forward.max_decode_rows = options.max_requests;
  forward.max_rows = std::max(options.prefill_chunk, options.max_requests);
  forward.max_output_rows = options.max_output_rows;
  ONEBEAT_ASSIGN_OR_RETURN(runner->forward_,
                           CpuForward::create(model, forward, *runner->pages_, pool));
  return runner;
}

Result<std::int32_t> CpuRunner::open_request() {
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t request, pages_->open_row());
  lens_[static_cast<std::size_t>(request)] = 0;
  return request;
}

void CpuRunner::close_request(std::int32_t request) {
  pages_->close_row(request);
}

Status CpuRunner::reserve(std::int32_t request, std::int64_t tokens) {
  const std::int64_t after = length(request) + tokens;
  if (after > options_.context_tokens) {
    return out_of_range("the request would have {} tokens; the context has room for {}", after,
                        options_.context_tokens);
  }
  return pages_->reserve(request, after);
}

Status CpuRunner::prefill(std::int32_t request, std::span<const std::int32_t> tokens,
                          PromptLogits wanted) {
  const auto count = static_cast<std::int32_t>(tokens.size());
  ONEBEAT_CHECK(count >= 1 && count <= options_.prefill_chunk);
  ONEBEAT_RETURN_IF_ERROR(reserve(request, count));
  std::int32_t& len = lens_[static_cast<std::size_t>(request)];
  const PromptTokens part = {request, len, tokens, wanted, count >= kFewestTileTokens ? count : 0};
  if (const Status status = forward_->run({}, {&part, 1}); !status.ok()) {
    pages_->shrink(request, len);
    return status;
  }
  len += count;
  return Status();
}

Status CpuRunner::decode(std::span<const DecodeInput> inputs) {
  decode_.clear();
  for (const DecodeInput& input : inputs) {
    ONEBEAT_RETURN_IF_ERROR(reserve(input.request, 1));
    decode_.push_back({input.request, input.token, length(input.request)});
  }
  ONEBEAT_RETURN_IF_ERROR(forward_->run(decode_, {}));
  for (const DecodeInput& input : inputs) ++lens_[static_cast<std::size_t>(input.request)];
  return Status();
}

}  // namespace onebeat
