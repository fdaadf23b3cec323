// SPDX-License-Identifier: Apache-2.0
// States to merge, for tests, and what they become in double precision. Rows of empty parts are
// NaN, gaps and results start as NaN.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/number_format.h"
#include "attention/oracle.h"
#include "onebeat/attention.h"

namespace onebeat {

struct MergeOptions {
  RowType type = RowType::kF32;
  std::size_t states = 2;
  std::int64_t tokens = 5;
  std::int32_t heads = 3;
  std::int32_t dim = 64;
  std::int32_t gap = 0;    ///< Elements between heads, and between tokens.
  float lse_scale = 3.0f;  ///< Spread of log-sum-exps.
  float lse_offset = 0.0f;
  bool sinks = false;
  double empty = 0.3;  ///< Probability that a part is empty.
  unsigned seed = 1;
};

class MergeBatch {
 public:
  explicit MergeBatch(const MergeOptions& given) : options(given) {
    std::mt19937 random(options.seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<double> uniform(0, 1);
    head_stride = options.dim + options.gap;
    token_stride = options.heads * head_stride + options.gap;
    row_elements = static_cast<std::size_t>(options.tokens * token_stride);
    lse_elements = static_cast<std::size_t>(options.tokens * options.heads);
    const auto bytes = static_cast<std::size_t>(size_of(options.type));
    rows.assign((options.states + 1) * row_elements * bytes, std::byte{0xff});  // NaN
    lse.assign((options.states + 1) * lse_elements, kNaN);
    for (std::int32_t h = 0; h < options.heads && options.sinks; ++h)
      sinks.push_back(options.lse_offset + options.lse_scale * normal(random));
    for (std::size_t s = 0; s < options.states; ++s) {
      for (std::int64_t t = 0; t < options.tokens; ++t) {
        for (std::int32_t h = 0; h < options.heads; ++h) {
          const bool is_empty = uniform(random) < options.empty;
          lse[s * lse_elements + static_cast<std::size_t>(t * options.heads + h)] =
              is_empty ? kMinusInfinity : options.lse_offset + options.lse_scale * normal(random);
          if (is_empty) continue;
          for (std::int32_t d = 0; d < options.dim; ++d) put(s, place(t, h, d), normal(random));
        }
      }
    }
  }

  /// State `index`, or the result behind the last, in these arrays of the same layout.
  [[nodiscard]] AttentionState state(std::size_t index, void* row_base, float* lse_base) const {
    return {static_cast<char*>(row_base) +
                index * row_elements * static_cast<std::size_t>(size_of(options.type)),
            lse_base + index * lse_elements,
            token_stride,
            head_stride,
            options.heads,
            1};
  }

  /// The merge of all states in these arrays into the place `to`.
  [[nodiscard]] MergeStates merge(void* row_base, float* lse_base, std::size_t to,
                                  const float* sink_base) {
    states.clear();
    for (std::size_t s = 0; s < options.states; ++s) states.push_back(state(s, row_base, lse_base));
    return {options.type, options.tokens, options.heads,
            options.dim,  states,         state(to, row_base, lse_base),
            sink_base};
  }

  /// Compares the result at `to` in arrays of the same layout with double precision, and the gaps
  /// with what they were.
  void expect(const std::vector<std::byte>& got_rows, const std::vector<float>& got_lse,
              std::size_t to, const std::string& what) const {
    // Half a unit of the last place, and what fp32 sums and exponentials lose.
    const double relative = options.type == RowType::kF32   ? 2e-6
                            : options.type == RowType::kF16 ? 0x1p-11 + 2e-6
                                                            : 0x1p-8 + 2e-6;
    for (std::int64_t t = 0; t < options.tokens; ++t) {
      for (std::int32_t h = 0; h < options.heads; ++h) {
        const std::string where =
            what + ", token " + std::to_string(t) + ", head " + std::to_string(h);
        double maximum = -std::numeric_limits<double>::infinity();
        for (std::size_t s = 0; s < options.states; ++s)
          maximum = std::max(maximum, double{lse_at(lse, s, t, h)});
        double sum = 0;
        for (std::size_t s = 0; s < options.states; ++s) sum += weight(s, t, h, maximum);
        const float got = lse_at(got_lse, to, t, h);
        if (sum == 0) {
          ASSERT_EQ(got, kMinusInfinity) << where;
        } else {
          const double expected = maximum + std::log(sum);
          ASSERT_NEAR(got, expected, 2e-6 * (1 + std::abs(expected))) << where;
        }
        for (std::int32_t d = 0; d < options.dim; ++d) {
          const double sink =
              options.sinks ? std::exp(sinks[static_cast<std::size_t>(h)] - maximum) : 0.0;
          double expected = 0;
          double magnitude = 0;
          for (std::size_t s = 0; s < options.states && sum != 0; ++s) {
            const double w = weight(s, t, h, maximum) / (sum + sink);
            if (w == 0) continue;
            const double x = w * number(rows, s, place(t, h, d));
            expected += x;
            magnitude += std::abs(x);
          }
          ASSERT_NEAR(number(got_rows, to, place(t, h, d)), expected,
                      relative * magnitude + 0x1p-25)
              << where << ", element " << d;
        }
      }
    }
    for (std::size_t at = 0; at < row_elements; ++at) {
      if (!is_gap(at)) continue;
      ASSERT_TRUE(std::isnan(number(got_rows, to, at))) << what << ": wrote into a gap";
    }
  }

  MergeOptions options;
  std::vector<std::byte> rows;  ///< All states, then room for the result.
  std::vector<float> lse;
  std::vector<float> sinks;
  std::vector<AttentionState> states;
  std::int64_t token_stride = 0, head_stride = 0;
  std::size_t row_elements = 0, lse_elements = 0;

 private:
  static constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  static constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

  [[nodiscard]] std::size_t place(std::int64_t t, std::int32_t h, std::int32_t d) const {
    return static_cast<std::size_t>(t * token_stride + h * head_stride + d);
  }
  [[nodiscard]] bool is_gap(std::size_t at) const {
    const auto in_token = static_cast<std::int64_t>(at) % token_stride;
    return in_token >= options.heads * head_stride || in_token % head_stride >= options.dim;
  }
  [[nodiscard]] float lse_at(const std::vector<float>& from, std::size_t s, std::int64_t t,
                             std::int32_t h) const {
    return from[s * lse_elements + static_cast<std::size_t>(t * options.heads + h)];
  }
  [[nodiscard]] double weight(std::size_t s, std::int64_t t, std::int32_t h, double maximum) const {
    const double x = lse_at(lse, s, t, h);
    return std::isinf(x) && x < 0 ? 0.0 : std::exp(x - maximum);
  }
  [[nodiscard]] double number(const std::vector<std::byte>& from, std::size_t s,
                              std::size_t at) const {
    const std::size_t i = s * row_elements + at;
    if (options.type == RowType::kF32) return reinterpret_cast<const float*>(from.data())[i];
    const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(from.data())[i];
    return options.type == RowType::kF16 ? oracle::from_f16(bits) : oracle::from_bf16(bits);
  }
  void put(std::size_t s, std::size_t at, float value) {
    const std::size_t i = s * row_elements + at;
    if (options.type == RowType::kF32) {
      reinterpret_cast<float*>(rows.data())[i] = value;
    } else {
      reinterpret_cast<std::uint16_t*>(rows.data())[i] =
          options.type == RowType::kF16 ? f16_of(value) : bf16_of(value);
    }
  }
};

/// Merges of all types, numbers of states and kinds of log-sum-exp.
inline std::vector<MergeOptions> merge_cases() {
  std::vector<MergeOptions> cases;
  unsigned seed = 1;
  for (const RowType type : {RowType::kF32, RowType::kF16, RowType::kBF16}) {
    for (const std::size_t states : std::initializer_list<std::size_t>{1, 2, 3, 8, 32}) {
      cases.push_back({.type = type, .states = states, .tokens = 7, .heads = 5, .seed = seed++});
      cases.push_back({.type = type, .states = states, .dim = 8, .gap = 8, .seed = seed++});
      // Differences that no exponential of fp32 holds, and scores far from 0.
      cases.push_back({.type = type, .states = states, .lse_scale = 1000.0f, .seed = seed++});
      cases.push_back({.type = type,
                       .states = states,
                       .dim = 128,
                       .lse_offset = -3e4f,
                       .empty = 0.7,
                       .seed = seed++});
      cases.push_back({.type = type, .states = states, .empty = 1.0, .seed = seed++});
      cases.push_back({.type = type, .states = states, .sinks = true, .seed = seed++});
      cases.push_back(
          {.type = type, .states = states, .lse_scale = 200.0f, .sinks = true, .seed = seed++});
    }
    cases.push_back({.type = type, .states = 2, .lse_scale = 1e30f, .seed = seed++});
    cases.push_back({.type = type, .states = 2, .tokens = 0});
    cases.push_back({.type = type, .tokens = 300, .heads = 32, .dim = 256, .seed = seed++});
  }
  return cases;
}

}  // namespace onebeat
