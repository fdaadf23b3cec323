// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/merge_check.h"
#include "attention/number_format.h"
#include "base/error.h"
#include "device/thread_pool.h"
#include "onebeat/attention.h"

namespace onebeat {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct F32 {
  using Stored = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};
struct F16 {
  using Stored = std::uint16_t;
  static float load(std::uint16_t x) { return float_of_f16(x); }
  static std::uint16_t store(float x) { return f16_of(x); }
};
struct BF16 {
  using Stored = std::uint16_t;
  static float load(std::uint16_t x) { return float_of_bf16(x); }
  static std::uint16_t store(float x) { return bf16_of(x); }
};

template <typename Number>
class RowMerger {
  using Stored = typename Number::Stored;

 public:
  explicit RowMerger(const MergeStates& merge) : merge_(merge) {}

  void merge_row(std::int64_t token, std::int32_t head) const {
    // Weights first: the result may be in the place of a state.
    std::array<float, kMostMergedStates> weights;
    float maximum = kMinusInfinity;
    const std::size_t count = merge_.states.size();
    for (std::size_t i = 0; i < count; ++i) {
      weights[i] = *lse(merge_.states[i], token, head);
      maximum = weights[i] > maximum || std::isnan(weights[i]) ? weights[i] : maximum;
    }
    float sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      weights[i] = weights[i] == kMinusInfinity ? 0.0f : std::exp(weights[i] - maximum);
      sum += weights[i];
    }
    const float scale = scale_of(maximum, sum, head);
    for (std::size_t i = 0; i < count; ++i) weights[i] *= scale;
    write(token, head, weights);
    if (merge_.result.lse != nullptr) {
      *lse(merge_.result, token, head) =
          maximum == kMinusInfinity ? kMinusInfinity : maximum + std::log(sum);
    }
  }

 private:
  static float* lse(const AttentionState& state, std::int64_t token, std::int32_t head) {
    return state.lse + token * state.lse_token_stride + head * state.lse_head_stride;
  }
  static Stored* row(const AttentionState& state, std::int64_t token, std::int32_t head) {
    return static_cast<Stored*>(state.rows) + token * state.token_stride + head * state.head_stride;
  }

  /// What weights of this maximum and sum are multiplied by.
  float scale_of(float maximum, float sum, std::int32_t head) const {
    if (maximum == kMinusInfinity) return 0;
    if (merge_.sinks == nullptr) return 1 / sum;
    const float sink = merge_.sinks[head] - maximum;  // may be of any size
    return sink > 0 ? std::exp(-sink) / (sum * std::exp(-sink) + 1) : 1 / (sum + std::exp(sink));
  }

  void write(std::int64_t token, std::int32_t head,
             const std::array<float, kMostMergedStates>& weights) const {
    constexpr std::int32_t kPart = 8;  // dim is a multiple of it
    for (std::int32_t at = 0; at < merge_.dim; at += kPart) {
      std::array<float, kPart> sums{};
      for (std::size_t i = 0; i < merge_.states.size(); ++i) {
        if (weights[i] == 0.0f) continue;  // rows of empty parts may hold anything
        const Stored* from = row(merge_.states[i], token, head) + at;
        for (std::size_t d = 0; d < kPart; ++d) sums[d] += weights[i] * Number::load(from[d]);
      }
      Stored* to = row(merge_.result, token, head) + at;
      for (std::size_t d = 0; d < kPart; ++d) to[d] = Number::store(sums[d]);
    }
  }

  const MergeStates& merge_;
};

template <typename Number>
void merge_rows(const MergeStates& merge, ThreadPool& pool) {
  const RowMerger<Number> merger(merge);
  const std::int64_t grain = std::max<std::int64_t>(
      1, 16384 / (merge.dim * static_cast<std::int64_t>(merge.states.size())));
  pool.parallel_for(merge.num_tokens * merge.num_heads, grain,
                    [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                      for (std::int64_t row = begin; row < end; ++row) {
                        merger.merge_row(row / merge.num_heads,
                                         static_cast<std::int32_t>(row % merge.num_heads));
                      }
                    });
}

}  // namespace

Status merge_states(const MergeStates& merge, ThreadPool& pool) {
  ONEBEAT_RETURN_IF_ERROR(check_merge(merge));
  switch (merge.type) {
    case RowType::kF32:
      merge_rows<F32>(merge, pool);
      break;
    case RowType::kF16:
      merge_rows<F16>(merge, pool);
      break;
    case RowType::kBF16:
      merge_rows<BF16>(merge, pool);
      break;
  }
  return {};
}

}  // namespace onebeat
