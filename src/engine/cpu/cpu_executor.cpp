// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/cpu_executor.h"

#include <algorithm>

#include "base/check.h"
#include "onebeat/thread_pool.h"

namespace onebeat {

Result<std::unique_ptr<CpuExecutor>> CpuExecutor::create(const Model& model,
                                                         const CpuForwardOptions& options,
                                                         const PagePool& pages, ThreadPool& pool) {
  std::unique_ptr<CpuExecutor> executor(new CpuExecutor(pool, options.prompts_on_tiles));
  ONEBEAT_ASSIGN_OR_RETURN(executor->forward_, CpuForward::create(model, options, pages, pool));
  for (int thread = 0; thread < pool.threads(); ++thread)
    executor->samplers_.emplace_back(model.config().vocabulary);
  const auto choices = static_cast<std::size_t>(options.max_output_rows);
  executor->last_sampled_.resize(static_cast<std::size_t>(pages.shape().num_rows));
  executor->decode_.reserve(static_cast<std::size_t>(options.max_decode_rows));
  executor->parts_.reserve(static_cast<std::size_t>(pages.shape().num_rows));
  for (Done& done : executor->done_) {
    done.tokens.resize(choices);
    done.top.resize(choices * kMaxTopLogProbs);
  }
  return executor;
}

void CpuExecutor::submit(const StepBatch& batch) {
  ONEBEAT_CHECK(submitted_ - collected_ < kMaxInFlight);
  Done& done = done_[submitted_++ % kMaxInFlight];
  done.count = 0;
  done.status = run(batch);
  if (done.status.ok()) choose(batch, done);
}

Result<std::span<const StepToken>> CpuExecutor::collect() {
  ONEBEAT_CHECK(collected_ < submitted_);
  const Done& done = done_[collected_++ % kMaxInFlight];
  if (!done.status.ok()) return done.status;
  return std::span<const StepToken>(done.tokens.data(), done.count);
}

// Which tokens take tiles is a matter of the request alone, so that company changes no bits: those
// of a prompt that is long enough. A reply's token keeps the kernels that it had when it was
// computed first.
std::int32_t CpuExecutor::tokens_on_tiles(const PromptPart& part) const {
  if (!prompts_on_tiles_ || part.prompt_tokens < kFewestTileTokens) return 0;
  const auto count = static_cast<std::int32_t>(part.tokens.size());
  return std::clamp(part.prompt_tokens - part.position, 0, count);
}

Status CpuExecutor::run(const StepBatch& batch) {
  for (const PageCopy& copy : batch.copies) forward_->copy_page(copy.from, copy.to);
  decode_.clear();
  for (const DecodeRow& row : batch.decode) {
    const std::int32_t token =
        row.token == kLastSampled ? last_sampled_[static_cast<std::size_t>(row.row)] : row.token;
    decode_.push_back({row.row, token, row.position});
  }
  parts_.clear();
  for (const PromptPart& part : batch.parts) {
    parts_.push_back({part.row, part.position, part.tokens,
                      part.wants_logits ? PromptLogits::kLast : PromptLogits::kNone,
                      tokens_on_tiles(part)});
  }
  return forward_->run(decode_, parts_);
}

void CpuExecutor::choose(const StepBatch& batch, Done& done) {
  done.count = batch.samples.size();
  ONEBEAT_CHECK(done.count <= done.tokens.size());
  const ConstMatrix logits = forward_->logits();
  const auto count = static_cast<std::int64_t>(done.count);
  pool_.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const SampleOrder& order = batch.samples[at];
      const SampleInput input = {{logits.row(order.output), static_cast<std::size_t>(logits.cols)},
                                 *order.params,
                                 order.index,
                                 order.counts,
                                 order.allowed};
      const Result<SampledToken> sampled =
          samplers_[static_cast<std::size_t>(thread)].sample(input);
      StepToken& token = done.tokens[at];
      token.failure = sampled.status();
      if (!sampled.ok()) continue;
      token.id = sampled->id;
      token.log_prob = sampled->log_prob;
      // The sampler's own list lasts until its next choice.
      TokenLogProb* top = done.top.data() + at * kMaxTopLogProbs;
      std::copy(sampled->top_log_probs.begin(), sampled->top_log_probs.end(), top);
      token.top_log_probs = {top, sampled->top_log_probs.size()};
      last_sampled_[static_cast<std::size_t>(order.row)] = token.id;
    }
  });
}

}  // namespace onebeat
