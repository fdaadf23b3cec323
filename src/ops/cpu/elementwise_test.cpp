// SPDX-License-Identifier: Apache-2.0
// Norm, activation and rotary embedding against double, on every instruction set that Highway
// compiled.
#include <gtest/gtest.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/activation.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace onebeat {
namespace {

std::vector<float> random_floats(std::size_t count, float spread, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> x(count);
  for (float& value : x) value = normal(random);
  return x;
}

/// Runs `body` once with each instruction set that this machine has, and checks that it is the one
/// in use.
template <typename Body>
void for_each_target(Body body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    EXPECT_EQ(hwy::SupportedTargets() & target, target);
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(RmsNorm, AgreesWithDoubles) {
  const auto pool = ThreadPool::create(2).value();
  for_each_target([&] {
    for (const std::int64_t cols : {1, 5, 16, 31, 64, 100, 576, 4099}) {
      constexpr std::int64_t kRows = 19;
      const auto width = static_cast<std::size_t>(cols);
      const std::vector<float> x = random_floats(kRows * width, 3.0f, 1);
      const std::vector<float> gain = random_floats(width, 1.0f, 2);
      std::vector<float> out(kRows * width);
      rms_norm({x.data(), kRows, cols, cols}, gain.data(), 1e-5f, {out.data(), kRows, cols, cols},
               *pool);
      for (std::size_t t = 0; t < kRows; ++t) {
        double sum = 0;
        for (std::size_t c = 0; c < width; ++c)
          sum += static_cast<double>(x[t * width + c]) * x[t * width + c];
        for (std::size_t c = 0; c < width; ++c) {
          const double expected =
              x[t * width + c] / std::sqrt(sum / static_cast<double>(cols) + 1e-5) * gain[c];
          ASSERT_NEAR(out[t * width + c], expected, 2e-6 * (std::fabs(expected) + 0.1));
        }
      }
    }
  });
}

TEST(SiluMul, AgreesWithDoublesAlsoFarOut) {
  const auto pool = ThreadPool::create(2).value();
  for_each_target([&] {
    for (const std::int64_t cols : {1, 7, 16, 40, 1536}) {
      const auto width = static_cast<std::size_t>(cols);
      std::vector<float> gate = random_floats(3 * width, 20.0f, 3);
      gate[0] = -200.0f;
      gate[width] = 200.0f;
      const std::vector<float> before = gate;
      const std::vector<float> up = random_floats(3 * width, 2.0f, 4);
      silu_mul({gate.data(), 3, cols, cols}, {up.data(), 3, cols, cols}, *pool);
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const double z = before[i];
        const double expected = z / (1 + std::exp(-z)) * up[i];
        ASSERT_NEAR(gate[i], expected, 3e-6 * (std::fabs(expected) + 1e-3)) << z;
      }
    }
  });
}

TEST(RmsNormAdd, AddsTheNormalisedRow) {
  const auto pool = ThreadPool::create(2).value();
  for_each_target([&] {
    for (const std::int64_t cols : {1, 5, 16, 31, 640, 1000}) {
      constexpr std::int64_t kRows = 19;
      const auto width = static_cast<std::size_t>(cols);
      const std::vector<float> x = random_floats(kRows * width, 3.0f, 1);
      const std::vector<float> gain = random_floats(width, 1.0f, 2);
      std::vector<float> normed(kRows * width);
      std::vector<float> out = random_floats(kRows * width, 2.0f, 6);
      const std::vector<float> before = out;
      rms_norm({x.data(), kRows, cols, cols}, gain.data(), 1e-6f,
               {normed.data(), kRows, cols, cols}, *pool);
      rms_norm_add({x.data(), kRows, cols, cols}, gain.data(), 1e-6f,
                   {out.data(), kRows, cols, cols}, *pool);
      for (std::size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], static_cast<double>(before[i]) + normed[i],
                    1e-6 * (std::fabs(out[i]) + 1));
      }
    }
  });
}

TEST(GeluMul, AgreesWithDoublesAlsoFarOut) {
  const auto pool = ThreadPool::create(2).value();
  for_each_target([&] {
    for (const std::int64_t cols : {1, 7, 16, 40, 2048}) {
      const auto width = static_cast<std::size_t>(cols);
      std::vector<float> gate = random_floats(3 * width, 3.0f, 3);
      gate[0] = -200.0f;
      gate[width] = 200.0f;
      gate[2 * width] = -5.5f;  // Where the approximation is almost, but not yet, 0.
      const std::vector<float> before = gate;
      const std::vector<float> up = random_floats(3 * width, 2.0f, 4);
      gelu_mul({gate.data(), 3, cols, cols}, {up.data(), 3, cols, cols}, *pool);
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const double z = before[i];
        const double u = std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z);
        const double expected = z / (1 + std::exp(-2 * u)) * up[i];
        ASSERT_NEAR(gate[i], expected, 4e-6 * (std::fabs(expected) + 1e-3)) << z;
      }
    }
  });
}

class RopeTest : public testing::TestWithParam<RopePairs> {};

TEST_P(RopeTest, RotatesByThePositionsAngle) {
  const auto pool = ThreadPool::create(2).value();
  const std::vector<float> factors = {1.0f, 2.0f, 4.0f, 8.0f, 1.0f, 1.5f};
  const std::vector<std::int32_t> positions = {0, 1, 17, 8191, 131071};
  RopeParams params;
  params.rotary_dims = 12;
  params.freq_base = 100000.0;
  params.position_scale = 0.25;
  params.freq_factors = factors;
  params.pairs = GetParam();
  constexpr std::size_t kHead = 16, kHeads = 3;
  std::vector<float> x = random_floats(positions.size() * kHead * kHeads, 1.0f, 5);
  const std::vector<float> before = x;
  std::vector<float> angles(positions.size() * 12);
  rope_angles(params, positions, {angles.data(), 5, 12, 12});
  apply_rope(params, {angles.data(), 5, 12, 12}, kHead,
             {x.data(), 5, kHead * kHeads, kHead * kHeads}, *pool);
  for (std::size_t row = 0; row < positions.size() * kHeads; ++row) {
    const float* old = before.data() + row * kHead;
    const float* now = x.data() + row * kHead;
    for (std::size_t i = 0; i < 6; ++i) {
      const std::size_t first = GetParam() == RopePairs::kNeighbours ? 2 * i : i;
      const std::size_t second = GetParam() == RopePairs::kNeighbours ? 2 * i + 1 : i + 6;
      const double angle = positions[row / kHeads] * 0.25 *
                           std::pow(1e5, -2.0 * static_cast<double>(i) / 12) / factors[i];
      EXPECT_NEAR(now[first], old[first] * std::cos(angle) - old[second] * std::sin(angle), 1e-6);
      EXPECT_NEAR(now[second], old[first] * std::sin(angle) + old[second] * std::cos(angle), 1e-6);
    }
    for (std::size_t i = 12; i < kHead; ++i) EXPECT_EQ(now[i], old[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Pairs, RopeTest,
                         testing::Values(RopePairs::kNeighbours, RopePairs::kHalves));

}  // namespace
}  // namespace onebeat
