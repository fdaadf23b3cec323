// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/check.h"
#include "ops/rope.h"

namespace onebeat {
namespace {

void rotate_neighbours(float* x, const float* cosines, const float* sines, std::int32_t pairs) {
  for (std::int32_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = a * sines[i] + b * cosines[i];
  }
}

void rotate_halves(float* x, const float* cosines, const float* sines, std::int32_t pairs) {
  for (std::int32_t i = 0; i < pairs; ++i) {
    const float a = x[i];
    const float b = x[i + pairs];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + pairs] = a * sines[i] + b * cosines[i];
  }
}

}  // namespace

void rope_angles(const RopeParams& params, std::span<const std::int32_t> positions, Matrix angles) {
  const std::int32_t pairs = params.rotary_dims / 2;
  ONEBEAT_CHECK(angles.rows >= static_cast<std::int64_t>(positions.size()));
  ONEBEAT_CHECK(angles.cols == params.rotary_dims);
  ONEBEAT_CHECK(params.freq_factors.empty() ||
                static_cast<std::int32_t>(params.freq_factors.size()) == pairs);
  for (std::int32_t i = 0; i < pairs; ++i) {
    double frequency =
        params.position_scale * std::pow(params.freq_base, -2.0 * i / params.rotary_dims);
    if (!params.freq_factors.empty()) frequency /= params.freq_factors[static_cast<std::size_t>(i)];
    for (std::size_t t = 0; t < positions.size(); ++t) {
      // In double: a float angle of 100,000 would be off by 0.004.
      const double angle = positions[t] * frequency;
      float* row = angles.row(static_cast<std::int64_t>(t));
      row[i] = static_cast<float>(std::cos(angle));
      row[pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

void apply_rope(const RopeParams& params, ConstMatrix angles, std::int32_t head_dim, Matrix x,
                ThreadPool& pool) {
  const std::int32_t pairs = params.rotary_dims / 2;
  ONEBEAT_CHECK(angles.rows >= x.rows && angles.cols == params.rotary_dims);
  ONEBEAT_CHECK(params.rotary_dims <= head_dim && x.cols % head_dim == 0);
  constexpr std::int64_t kGrain = 8;
  pool.parallel_for(x.rows, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float* cosines = angles.row(t);
      const float* sines = cosines + pairs;
      for (float* head = x.row(t); head < x.row(t) + x.cols; head += head_dim) {
        if (params.pairs == RopePairs::kNeighbours) {
          rotate_neighbours(head, cosines, sines, pairs);
        } else {
          rotate_halves(head, cosines, sines, pairs);
        }
      }
    }
  });
}

}  // namespace onebeat
