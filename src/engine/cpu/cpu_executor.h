// SPDX-License-Identifier: Apache-2.0
// CpuExecutor: runs a step at once, on the thread that submits it and its pool.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/cpu/cpu_forward.h"
#include "engine/steps/step_executor.h"
#include "ops/sample.h"

namespace onebeat {

class CpuExecutor final : public StepExecutor {
 public:
  /// Most steps submitted and not collected.
  static constexpr int kMaxInFlight = 2;

  /// The arguments of CpuForward::create(). A step takes at most options.max_output_rows choices.
  [[nodiscard]] static Result<std::unique_ptr<CpuExecutor>> create(const Model& model,
                                                                   const CpuForwardOptions& options,
                                                                   const PagePool& pages,
                                                                   ThreadPool& pool);

  void submit(const StepBatch& batch) override;
  [[nodiscard]] Result<std::span<const StepToken>> collect() override;
  [[nodiscard]] EngineCounters counters() const override { return forward_->counters(); }

 private:
  struct Done {
    Status status;
    std::vector<StepToken> tokens;
    std::size_t count = 0;
    std::vector<TokenLogProb> top;  // kMaxTopLogProbs for each token
  };

  CpuExecutor(ThreadPool& pool, bool prompts_on_tiles)
      : pool_(pool), prompts_on_tiles_(prompts_on_tiles) {}
  [[nodiscard]] Status run(const StepBatch& batch);
  [[nodiscard]] std::int32_t tokens_on_tiles(const PromptPart& part) const;
  void choose(const StepBatch& batch, Done& done);

  ThreadPool& pool_;
  bool prompts_on_tiles_;
  std::unique_ptr<CpuForward> forward_;
  std::vector<Sampler> samplers_;           // of each thread
  std::vector<std::int32_t> last_sampled_;  // of each row
  std::vector<DecodeToken> decode_;
  std::vector<PromptTokens> parts_;
  std::array<Done, kMaxInFlight> done_;  // a ring
  std::size_t submitted_ = 0, collected_ = 0;
};

}  // namespace onebeat
