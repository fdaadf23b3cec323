// SPDX-License-Identifier: Apache-2.0
// How far the default mode's logits are from those of --compute f32, which other tests compare with
// an fp32 oracle, at every position of the oracle's texts. For tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/cpu/cpu_runner.h"
#include "golden_logits.h"
#include "model/model.h"
#include "onebeat/thread_pool.h"
#include "ops/cpu/isa.h"
#include "ops/weight_packer.h"

namespace onebeat::testing {

struct ModeDistance {
  std::int64_t positions = 0;
  double kl_mean = 0;             ///< Of the default mode's distribution from the exact one.
  double largest_difference = 0;  ///< Of a logit.
  std::int64_t clear = 0;         ///< Positions whose best logit is more than 1.0 above the second.
  std::int64_t clear_wrong = 0;   ///< Where the default mode has another best one nevertheless.
};

/// A model as the engine loads it, with repacked weights.
class ModeRun {
 public:
  ModeRun(const std::filesystem::path& path, ComputeMode mode, ThreadPool& pool)
      : model_(
            Model::load(path, std::make_unique<WeightPacker>(LinearOptions{mode, best_isa()}, pool))
                .value()) {
    CpuRunnerOptions options;
    options.mode = mode;
    options.isa = best_isa();
    options.kv_type = mode == ComputeMode::kF32 ? KvType::kF32 : KvType::kF16;
    options.context_tokens = 128;
    options.max_output_rows = 64;
    runner_ = CpuRunner::create(*model_, options, pool).value();
  }
  void open() { request_ = runner_->open_request().value(); }
  void close() { runner_->close_request(request_); }
  bool prefill(std::span<const std::int32_t> ids) {
    return runner_->prefill(request_, ids, PromptLogits::kAll).ok();
  }
  bool decode(std::int32_t id) {
    const DecodeInput input = {request_, id};
    return runner_->decode({&input, 1}).ok();
  }
  [[nodiscard]] ConstMatrix logits() const { return runner_->logits(); }

 private:
  std::unique_ptr<Model> model_;
  std::unique_ptr<CpuRunner> runner_;
  std::int32_t request_ = 0;
};

inline double log_of_sum(std::span<const float> row, float largest) {
  double sum = 0;
  for (const float value : row) sum += std::exp(static_cast<double>(value - largest));
  return std::log(sum) + largest;
}

inline void add_row(std::span<const float> exact, std::span<const float> found, ModeDistance& out) {
  const auto best =
      static_cast<std::size_t>(std::max_element(exact.begin(), exact.end()) - exact.begin());
  const auto chosen =
      static_cast<std::size_t>(std::max_element(found.begin(), found.end()) - found.begin());
  const double exact_sum = log_of_sum(exact, exact[best]),
               found_sum = log_of_sum(found, found[chosen]);
  double kl = 0;
  float second = -INFINITY;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double log_p = exact[i] - exact_sum, log_q = found[i] - found_sum;
    kl += std::exp(log_p) * (log_p - log_q);
    out.largest_difference =
        std::max<double>(out.largest_difference, std::fabs(exact[i] - found[i]));
    if (i != best) second = std::max(second, exact[i]);
  }
  out.kl_mean += (kl - out.kl_mean) / static_cast<double>(++out.positions);
  if (exact[best] - second > 1.0F) {
    ++out.clear;
    out.clear_wrong += best != chosen;
  }
}

/// Prompts are fed at once, the oracle's continuations token by token. Positions is 0 if a pass
/// failed.
inline ModeDistance mode_distance(const std::filesystem::path& path,
                                  std::span<const GoldenPrompt> texts) {
  const auto pool = ThreadPool::create(2).value();
  ModeRun exact(path, ComputeMode::kF32, *pool), found(path, ComputeMode::kAuto, *pool);
  ModeDistance distance;
  const auto add = [&] {
    for (std::int64_t i = 0; i < exact.logits().rows; ++i) {
      const auto count = static_cast<std::size_t>(exact.logits().cols);
      add_row({exact.logits().row(i), count}, {found.logits().row(i), count}, distance);
    }
  };
  for (const GoldenPrompt& text : texts) {
    exact.open();
    found.open();
    if (!exact.prefill(text.ids) || !found.prefill(text.ids)) return {};
    add();
    for (std::size_t i = 0; i + 1 < text.tokens.size(); ++i) {
      if (!exact.decode(text.tokens[i]) || !found.decode(text.tokens[i])) return {};
      add();
    }
    exact.close();
    found.close();
  }
  return distance;
}

}  // namespace onebeat::testing
