// SPDX-License-Identifier: Apache-2.0
// The oracle of all attention tests: textbook attention in double precision. It knows no plan, no
// tile, no running softmax; it asks a predicate for each (query, key) pair and reads one element
// after the other.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "onebeat/attention.h"

namespace onebeat::oracle {

inline double from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline double from_f16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double fraction = (bits & 1023) / 1024.0;
  double value;
  if (exponent == 31) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else {
    value = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
  }
  return bits >> 15 ? -value : value;
}

inline double from_e4m3(std::uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const double fraction = (bits & 7) / 8.0;
  if ((bits & 127) == 127) return std::numeric_limits<double>::quiet_NaN();
  const double value =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return bits >> 7 ? -value : value;
}

inline double element(KvType type, const void* base, std::int64_t at) {
  if (type == KvType::kF32) return static_cast<const float*>(base)[at];
  if (type == KvType::kF8E4M3) return from_e4m3(static_cast<const std::uint8_t*>(base)[at]);
  const std::uint16_t bits = static_cast<const std::uint16_t*>(base)[at];
  return type == KvType::kBF16 ? from_bf16(bits) : from_f16(bits);
}

/// Whether the query at position `query` of a request of `len` tokens sees the key at `key`.
inline bool sees(const AttentionGeometry& g, std::int64_t query, std::int64_t key,
                 std::int64_t len) {
  if (key < 0 || key >= len) return false;
  if (g.causal && key > query) return false;
  if (g.window_left >= 0 && key < query - g.window_left) return false;
  return g.chunk_tokens == 0 || key / g.chunk_tokens == query / g.chunk_tokens;
}

struct Row {
  std::vector<double> out;
  double lse = -std::numeric_limits<double>::infinity();
};

/// One query token (row `token` of q, at `position`) and head of request `request` of `len` tokens.
inline Row attend(const AttentionGeometry& g, const AttentionLaunch& launch, std::int64_t request,
                  std::int64_t token, std::int64_t position, std::int64_t len, std::int32_t head) {
  const KvPool& kv = launch.kv;
  const std::int64_t kv_head = head / (g.num_heads / g.num_kv_heads);
  const std::int64_t row = launch.pages.row_of ? launch.pages.row_of[request] : request;
  const float* q = launch.q.data + token * launch.q.token_stride + head * launch.q.head_stride;
  std::vector<std::int64_t> keys;
  std::vector<double> scores;
  const auto page_of = [&](std::int64_t key) {
    return std::int64_t{launch.pages.pages[row * launch.pages.row_stride + key / g.page_tokens]};
  };
  double maximum = -std::numeric_limits<double>::infinity();
  for (std::int64_t key = 0; key < len; ++key) {
    if (!sees(g, position, key, len)) continue;
    const std::int64_t at = page_of(key) * kv.k_page_stride +
                            key % g.page_tokens * kv.k_token_stride + kv_head * kv.k_head_stride;
    double score = 0;
    for (std::int32_t d = 0; d < g.head_dim; ++d)
      score += double{q[d]} * element(kv.type, kv.k, at + d);
    if (kv.k_scales != nullptr) score *= double{kv.k_scales[kv_head]};
    score *= double{launch.score.scale};
    if (launch.score.soft_cap > 0) {
      score = double{launch.score.soft_cap} * std::tanh(score / double{launch.score.soft_cap});
    }
    keys.push_back(key);
    scores.push_back(score);
    maximum = std::max(maximum, score);
  }
  Row result;
  result.out.assign(static_cast<std::size_t>(g.head_dim_v), 0.0);
  if (keys.empty()) return result;
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - maximum);
  result.lse = maximum + std::log(sum);
  if (launch.score.sinks != nullptr) sum += std::exp(double{launch.score.sinks[head]} - maximum);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double weight = std::exp(scores[i] - maximum) / sum;
    const std::int64_t at = page_of(keys[i]) * kv.v_page_stride +
                            keys[i] % g.page_tokens * kv.v_token_stride +
                            kv_head * kv.v_head_stride;
    for (std::int32_t d = 0; d < g.head_dim_v; ++d) {
      result.out[static_cast<std::size_t>(d)] += weight * element(kv.type, kv.v, at + d);
    }
  }
  if (kv.v_scales != nullptr) {
    for (double& value : result.out) value *= double{kv.v_scales[kv_head]};
  }
  return result;
}

}  // namespace onebeat::oracle
