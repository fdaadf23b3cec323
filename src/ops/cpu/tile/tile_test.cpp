// SPDX-License-Identifier: Apache-2.0
// Products on tiles against doubles: of the very bf16 numbers that are multiplied, and of the exact
// ones.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/cpu/isa.h"
#include "ops/cpu/panel/panel_layout.h"
#include "ops/cpu/random_weights.h"
#include "ops/cpu/tile/linear_tiles.h"
#include "ops/linear.h"
#include "ops/weight_packer.h"

namespace onebeat {
namespace {

constexpr WeightType kTypes[] = {WeightType::kF32,  WeightType::kF16,  WeightType::kBF16,
                                 WeightType::kQ8_0, WeightType::kQ4_0, WeightType::kQ4_1,
                                 WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ4_K,
                                 WeightType::kQ5_K, WeightType::kQ6_K};
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The nearest bf16; of two the larger magnitude.
double nearest_bf16(double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  return std::bit_cast<float>((bits + 0x8000u) & 0xffff0000u);
}

/// Rows of activations with NaN between them.
struct Activations {
  Activations(std::int64_t tokens, std::int64_t cols, std::uint64_t seed)
      : stride(cols + 5), values(static_cast<std::size_t>(tokens * stride), kNaN) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t c = 0; c < cols; ++c) values[index(t, c)] = normal(random);
    }
    view = {values.data(), tokens, cols, stride};
  }
  std::size_t index(std::int64_t t, std::int64_t c) const {
    return static_cast<std::size_t>(t * stride + c);
  }
  std::int64_t stride;
  std::vector<float> values;
  ConstMatrix view;
};

class TileTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!supports(CpuIsa::kAmx)) GTEST_SKIP() << "this machine has no tiles";
    for (const int threads : {1, 2, 3}) pools_.push_back(ThreadPool::create(threads).value());
    packer_ = std::make_unique<WeightPacker>(kOptions, *pools_[1]);
  }

  /// Compares every element; `add` begins with ones, and a bias is part of it.
  void check(WeightType type, std::int64_t rows, std::int64_t cols, std::int64_t tokens, bool add,
             std::size_t pool) {
    SCOPED_TRACE(testing::Message() << to_string(type) << " " << rows << "x" << cols << ", "
                                    << tokens << " tokens, add " << add << ", pool " << pool);
    const RandomWeights weights = random_weights(type, rows, cols, 7);
    const Activations x(tokens, cols, 11);
    const Activations bias(1, rows, 13);
    const std::int64_t stride = rows + 3;
    std::vector<float> out(static_cast<std::size_t>(tokens * stride), add ? 1.0f : kNaN);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t r = rows; r < stride; ++r)
        out[static_cast<std::size_t>(t * stride + r)] = 7;
    }
    const WeightView packed = packer_->pack(weights.view).value();
    const LinearPart part = {packed, bias.values.data(), {out.data(), tokens, rows, stride}, add};
    ASSERT_TRUE(takes_tiles({&part, 1}, kOptions));
    ASSERT_TRUE(linear(x.view, {&part, 1}, kOptions, *pools_[pool]).ok());
    const bool quantised = block_elements(type) > 1;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double sum = bias.values[static_cast<std::size_t>(r)] + (add ? 1.0 : 0.0);
        double magnitude = 1;
        double largest = 0;
        for (std::int64_t c = 0; c < cols; ++c) {
          double w = weights.values[static_cast<std::size_t>(r * cols + c)];
          double value = x.values[x.index(t, c)];
          if (quantised) {
            w = nearest_bf16(w);
            value = nearest_bf16(value);
          }
          sum += w * value;
          magnitude += std::fabs(w * value);
          largest = std::max(largest, std::fabs(w * value));
        }
        // Of quantised weights one may be rounded the other way, for it is computed with one
        // rounding less than in its definition. Others are sums of two parts.
        const double bound = quantised ? 4e-6 * magnitude + largest / 128 : 2.5e-5 * magnitude;
        ASSERT_NEAR(out[static_cast<std::size_t>(t * stride + r)], sum, bound)
            << "token " << t << " row " << r;
      }
      for (std::int64_t r = rows; r < stride; ++r) {
        ASSERT_EQ(out[static_cast<std::size_t>(t * stride + r)], 7) << "written beyond the rows";
      }
    }
  }

  static constexpr LinearOptions kOptions = {ComputeMode::kAuto, CpuIsa::kAmx, true};
  std::vector<std::unique_ptr<ThreadPool>> pools_;
  std::unique_ptr<WeightPacker> packer_;
};

TEST_F(TileTest, AgreesWithDoublesForEveryType) {
  for (const WeightType type : kTypes) {
    const std::int64_t block = block_elements(type) == 256 ? 256 : 32;
    std::size_t pool = 0;
    for (const std::int64_t rows : {16, 17, 32, 45, 83}) {
      for (const std::int64_t tokens : {16, 17, 31, 48, 79}) {
        check(type, rows, block * (1 + rows % 3), tokens, tokens % 2 == 1, pool++ % 3);
      }
    }
    // Columns that are expanded in two and in three times, and blocks of tokens apart.
    check(type, 33, 1024, 33, false, 0);
    check(type, 20, 1792, 300, true, 2);
  }
}

TEST_F(TileTest, UnquantisedRowsOfAnyLength) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16}) {
    for (const std::int64_t cols : {1, 7, 15, 16, 17, 31, 33, 100}) {
      check(type, 9, cols, 19, false, 1);
      check(type, 1, cols, 16, true, 0);
    }
  }
}

TEST_F(TileTest, AsCloseToExactAsPromised) {
  // Root mean square error relative to the size of the results: below that of activations of 8
  // bits.
  constexpr std::int64_t kRows = 64, kCols = 512, kTokens = 64;
  for (const WeightType type : kTypes) {
    const RandomWeights weights = random_weights(type, kRows, kCols, 17);
    const WeightView packed = packer_->pack(weights.view).value();
    const Activations x(kTokens, kCols, 19);
    std::vector<float> out(kTokens * kRows);
    const auto error = [&](bool tiles) {
      const LinearPart part = {packed, nullptr, {out.data(), kTokens, kRows, kRows}, false};
      const LinearOptions options = {ComputeMode::kAuto, CpuIsa::kAmx, tiles};
      EXPECT_TRUE(linear(x.view, {&part, 1}, options, *pools_[1]).ok());
      double squares = 0, size = 0;
      for (std::int64_t i = 0; i < kTokens * kRows; ++i) {
        double sum = 0;
        for (std::int64_t c = 0; c < kCols; ++c) {
          sum += weights.values[static_cast<std::size_t>(i % kRows * kCols + c)] *
                 x.values[x.index(i / kRows, c)];
        }
        squares += std::pow(out[static_cast<std::size_t>(i)] - sum, 2);
        size += sum * sum;
      }
      return std::sqrt(squares / size);
    };
    const double with_tiles = error(true);
    if (block_elements(type) > 1) {
      EXPECT_LT(with_tiles, 0.6 * error(false)) << to_string(type);
    } else {
      EXPECT_LT(with_tiles, 1e-5) << to_string(type);
    }
  }
}

TEST_F(TileTest, SeveralPartsOfDifferentTypesShareOneInput) {
  constexpr std::int64_t kCols = 512, kTokens = 40;
  const Activations x(kTokens, kCols, 23);
  std::vector<RandomWeights> weights;
  std::vector<std::vector<float>> together, alone;
  std::vector<LinearPart> parts;
  for (const WeightType type : {WeightType::kQ4_1, WeightType::kF16, WeightType::kQ6_K}) {
    weights.push_back(random_weights(type, 50, kCols, 29));
    together.emplace_back(kTokens * 50);
    alone.emplace_back(kTokens * 50);
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    LinearPart part = {packer_->pack(weights[i].view).value(), nullptr, {}, false};
    part.out = {alone[i].data(), kTokens, 50, 50};
    ASSERT_TRUE(linear(x.view, {&part, 1}, kOptions, *pools_[0]).ok());
    part.out.data = together[i].data();
    parts.push_back(part);
  }
  ASSERT_TRUE(linear(x.view, parts, kOptions, *pools_[1]).ok());
  EXPECT_EQ(together, alone);
}

TEST_F(TileTest, NotANumberStaysInItsRow) {
  const RandomWeights weights = random_weights(WeightType::kQ4_1, 32, 64, 1);
  Activations x(20, 64, 3);
  x.values[x.index(17, 40)] = kNaN;
  std::vector<float> out(20 * 32);
  const LinearPart part = {
      packer_->pack(weights.view).value(), nullptr, {out.data(), 20, 32, 32}, false};
  ASSERT_TRUE(linear(x.view, {&part, 1}, kOptions, *pools_[0]).ok());
  for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 32 == 17) << i;
}

TEST_F(TileTest, ATokensBitsDoNotDependOnItsCompany) {
  constexpr std::int64_t kRows = 45, kCols = 1024, kTokens = 70;
  for (const WeightType type : {WeightType::kQ4_1, WeightType::kQ4_K, WeightType::kBF16}) {
    const RandomWeights weights = random_weights(type, kRows, kCols, 5);
    const Activations x(kTokens, kCols, 7);
    const auto compute = [&](std::int64_t first, std::int64_t tokens, ThreadPool& pool) {
      std::vector<float> out(static_cast<std::size_t>(tokens * kRows));
      const LinearPart part = {
          packer_->pack(weights.view).value(), nullptr, {out.data(), tokens, kRows, kRows}, false};
      ConstMatrix some = x.view;
      some.data += first * some.stride;
      some.rows = tokens;
      EXPECT_TRUE(linear(some, {&part, 1}, kOptions, pool).ok());
      return out;
    };
    const std::vector<float> together = compute(0, kTokens, *pools_[1]);
    for (const auto& [first, tokens] : {std::pair<std::int64_t, std::int64_t>(0, 1),
                                        {3, 1},
                                        {69, 1},
                                        {5, 15},
                                        {16, 33},
                                        {1, 69}}) {
      SCOPED_TRACE(testing::Message() << to_string(type) << " " << tokens << " from " << first);
      const auto begin = together.begin() + first * kRows;
      EXPECT_EQ(compute(first, tokens, *pools_[0]),
                std::vector<float>(begin, begin + tokens * kRows));
    }
  }
}

TEST_F(TileTest, OnlyWhereTheyMay) {
  const RandomWeights weights = random_weights(WeightType::kQ4_1, 32, 64, 1);
  const Activations x(64, 64, 3);
  LinearPart part = {packer_->pack(weights.view).value(), nullptr, {}, false};
  EXPECT_TRUE(takes_tiles({&part, 1}, kOptions));
  EXPECT_FALSE(takes_tiles({&part, 1}, {ComputeMode::kF32, CpuIsa::kAmx, true}));
  EXPECT_FALSE(takes_tiles({&part, 1}, {ComputeMode::kAuto, CpuIsa::kAmx, false}));
  EXPECT_FALSE(takes_tiles({&part, 1}, {ComputeMode::kAuto, CpuIsa::kAvx512Vnni, true}));
  part.weight = weights.view;  // as in a file
  EXPECT_FALSE(takes_tiles({&part, 1}, kOptions));
}

}  // namespace
}  // namespace onebeat
