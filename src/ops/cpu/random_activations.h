// SPDX-License-Identifier: Apache-2.0
// For tests: random activations, and what the kernels with 8-bit activations make of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace onebeat {

inline std::vector<float> random_activations(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = normal(random);
  return x;
}

/// What 8-bit activations stand for: blocks of 32, d = largest magnitude / 127, rounded to nearest.
inline std::vector<double> as_quantized(const std::vector<float>& x) {
  std::vector<double> values(x.size());
  for (std::size_t block = 0; block < x.size(); block += 32) {
    float largest = 0;
    for (std::size_t i = block; i < block + 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float d = largest / 127.0f;
    const float inverse = d > 0 ? 1.0f / d : 0.0f;
    for (std::size_t i = block; i < block + 32; ++i) {
      values[i] = static_cast<double>(d) * std::nearbyint(x[i] * inverse);
    }
  }
  return values;
}

}  // namespace onebeat
