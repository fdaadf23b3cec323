// SPDX-License-Identifier: Apache-2.0
// Every instruction set's kernels against products in double of the values that the formats define.
#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>

#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/random_activations.h"
#include "ops/cpu/random_weights.h"
#include "ops/embedding.h"

namespace onebeat {
namespace {

constexpr WeightType kPackedTypes[] = {WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ4_K,
                                       WeightType::kQ5_K, WeightType::kQ6_K};
constexpr WeightType kAllTypes[] = {WeightType::kF32,  WeightType::kF16,  WeightType::kBF16,
                                    WeightType::kQ8_0, WeightType::kQ4_0, WeightType::kQ4_1};

std::string name_of(const testing::TestParamInfo<CpuIsa>& isa) {
  return std::string(to_string(isa.param));
}

class LinearTest : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!supports(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
    pool_ = ThreadPool::create(2).value();
  }
  LinearOptions options(ComputeMode mode) const { return {mode, GetParam(), true}; }

  /// Computes with every element's exact value and bound on the rounding, and compares.
  void check(WeightType type, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
             ComputeMode mode) {
    SCOPED_TRACE(testing::Message() << to_string(type) << " " << rows << "x" << cols << ", "
                                    << tokens << " tokens, " << to_string(mode));
    const RandomWeights weights = random_weights(type, rows, cols, 7);
    const std::vector<float> x = random_activations(tokens * cols, 11);
    const bool integers = mode == ComputeMode::kAuto && block_elements(type) > 1;
    const std::vector<double> exact =
        integers ? as_quantized(x) : std::vector<double>(x.begin(), x.end());
    std::vector<float> out(static_cast<std::size_t>(tokens * rows),
                           std::numeric_limits<float>::quiet_NaN());
    const LinearPart part = {weights.view, nullptr, {out.data(), tokens, rows, rows}, false};
    ASSERT_TRUE(linear({x.data(), tokens, cols, cols}, {&part, 1}, options(mode), *pool_).ok());
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        double magnitude = 0;
        for (std::int64_t c = 0; c < cols; ++c) {
          const double product = weights.values[static_cast<std::size_t>(r * cols + c)] *
                                 exact[static_cast<std::size_t>(t * cols + c)];
          sum += product;
          magnitude += std::fabs(product);
        }
        // The offset of nibbles is added apart: its products may be larger than the sum's.
        const double bound = 1e-6 * (4 * magnitude + 1);
        ASSERT_NEAR(out[static_cast<std::size_t>(t * rows + r)], sum, bound)
            << "token " << t << " row " << r;
      }
    }
  }

  std::unique_ptr<ThreadPool> pool_;
};

TEST_P(LinearTest, AgreesWithDoublesForEveryType) {
  for (const WeightType type : kAllTypes) {
    for (const ComputeMode mode : {ComputeMode::kAuto, ComputeMode::kF32}) {
      // Every remainder of the groups of two and four blocks, and of the tiles of tokens.
      for (const std::int64_t blocks : {1, 2, 3, 4, 5, 6, 7, 18})
        check(type, 5, 32 * blocks, 3, mode);
      for (const std::int64_t tokens : {1, 2, 4, 5, 8, 9, 13, 21})
        check(type, 3, 160, tokens, mode);
      check(type, 517, 256, 2, mode);  // several chunks
    }
  }
}

TEST_P(LinearTest, PackedTypesAgreeWithDoubles) {
  for (const WeightType type : kPackedTypes) {
    for (const ComputeMode mode : {ComputeMode::kAuto, ComputeMode::kF32}) {
      for (const std::int64_t blocks : {1, 2, 3, 5})
        check(type, 5, block_elements(type) * blocks, 3, mode);
      for (const std::int64_t tokens : {1, 4, 5, 9}) check(type, 9, 256, tokens, mode);
      check(type, 131, 768, 2, mode);  // several chunks
    }
  }
}

TEST_P(LinearTest, UnquantisedRowsOfAnyLength) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16}) {
    for (const std::int64_t cols : {1, 7, 8, 15, 16, 17, 31, 33, 100})
      check(type, 9, cols, 5, ComputeMode::kF32);
  }
}

TEST_P(LinearTest, ExtremesOfTheFormats) {
  // All weights at the ends of their range, all activations at the largest integer: the products'
  // own limits.
  for (const WeightType type : {WeightType::kQ8_0, WeightType::kQ4_0, WeightType::kQ4_1}) {
    for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
      RandomWeights weights = random_weights(type, 1, 128, 3);
      for (std::int64_t b = 0; b < 4; ++b) {
        std::byte* block = weights.bytes.data() + b * block_bytes(type);
        const std::int64_t head = type == WeightType::kQ4_1 ? 4 : 2;
        std::memset(block, 0, static_cast<std::size_t>(head));
        block[1] = std::byte{0x3c};  // d = 1
        for (std::int64_t i = head; i < block_bytes(type); ++i) {
          block[i] = static_cast<std::byte>(byte);
        }
      }
      const std::vector<float> x(128, -127.0f);
      float out = 0;
      const LinearPart part = {weights.view, nullptr, {&out, 1, 1, 1}, false};
      ASSERT_TRUE(
          linear({x.data(), 1, 128, 128}, {&part, 1}, options(ComputeMode::kAuto), *pool_).ok());
      const int low = byte & 15;
      const int high = byte >> 4;
      double expected = 0;
      if (type == WeightType::kQ8_0) expected = -127.0 * 128 * static_cast<std::int8_t>(byte);
      if (type == WeightType::kQ4_0) expected = -127.0 * 64 * (low + high - 16);
      if (type == WeightType::kQ4_1) expected = -127.0 * 64 * (low + high);
      EXPECT_EQ(out, static_cast<float>(expected)) << to_string(type) << " byte " << byte;
    }
  }
}

TEST_P(LinearTest, ATokensBitsDoNotDependOnItsCompany) {
  std::vector<WeightType> types(std::begin(kAllTypes), std::end(kAllTypes));
  types.insert(types.end(), std::begin(kPackedTypes), std::end(kPackedTypes));
  for (const WeightType type : types) {
    for (const ComputeMode mode : {ComputeMode::kAuto, ComputeMode::kF32}) {
      constexpr std::int64_t kRows = 40, kTokens = 23;
      const std::int64_t kCols = block_elements(type) == 256 ? 512 : 224;
      const RandomWeights weights = random_weights(type, kRows, kCols, 19);
      const std::vector<float> x = random_activations(kTokens * kCols, 23);
      std::vector<float> together(kTokens * kRows), alone(kRows);
      LinearPart part = {weights.view, nullptr, {together.data(), kTokens, kRows, kRows}, false};
      ASSERT_TRUE(
          linear({x.data(), kTokens, kCols, kCols}, {&part, 1}, options(mode), *pool_).ok());
      for (std::int64_t t = 0; t < kTokens; ++t) {
        part.out = {alone.data(), 1, kRows, kRows};
        ASSERT_TRUE(
            linear({x.data() + t * kCols, 1, kCols, kCols}, {&part, 1}, options(mode), *pool_)
                .ok());
        ASSERT_EQ(std::memcmp(alone.data(), together.data() + t * kRows, sizeof(float) * kRows), 0)
            << to_string(type) << " token " << t;
      }
    }
  }
}

TEST_P(LinearTest, SeveralPartsWithStridesBiasAndResidual) {
  constexpr std::int64_t kCols = 64, kTokens = 6, kStride = 80;
  const RandomWeights a = random_weights(WeightType::kQ4_1, 30, kCols, 1);
  const RandomWeights b = random_weights(WeightType::kQ8_0, 50, kCols, 2);
  const RandomWeights c = random_weights(WeightType::kF16, 9, kCols, 3);
  const std::vector<float> x = random_activations(kTokens * kCols, 4);
  const std::vector<float> bias = random_activations(50, 5);
  const auto alone = [&](const WeightView& view) {
    std::vector<float> out(static_cast<std::size_t>(kTokens * view.rows));
    const LinearPart part = {view, nullptr, {out.data(), kTokens, view.rows, view.rows}, false};
    EXPECT_TRUE(
        linear({x.data(), kTokens, kCols, kCols}, {&part, 1}, options(ComputeMode::kAuto), *pool_)
            .ok());
    return out;
  };
  std::vector<float> joined(kTokens * kStride, 100.0f), third(kTokens * 9, 1.0f);
  const LinearPart parts[] = {
      {a.view, nullptr, {joined.data(), kTokens, 30, kStride}, false},
      {b.view, bias.data(), {joined.data() + 30, kTokens, 50, kStride}, false},
      {c.view, nullptr, {third.data(), kTokens, 9, 9}, true}};
  ASSERT_TRUE(
      linear({x.data(), kTokens, kCols, kCols}, parts, options(ComputeMode::kAuto), *pool_).ok());
  const auto first = alone(a.view), second = alone(b.view), last = alone(c.view);
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t r = 0; r < 30; ++r) EXPECT_EQ(joined[t * kStride + r], first[t * 30 + r]);
    for (std::size_t r = 0; r < 50; ++r)
      EXPECT_EQ(joined[t * kStride + 30 + r], second[t * 50 + r] + bias[r]);
    for (std::size_t r = 0; r < 9; ++r) EXPECT_EQ(third[t * 9 + r], 1.0f + last[t * 9 + r]);
  }
}

TEST_P(LinearTest, TypesOfEveryLayoutShareOneInput) {
  constexpr std::int64_t kCols = 512, kTokens = 5, kRows = 11;
  const std::vector<float> x = random_activations(kTokens * kCols, 29);
  std::vector<RandomWeights> weights;
  for (const WeightType type : {WeightType::kQ6_K, WeightType::kQ4_0, WeightType::kQ8_0,
                                WeightType::kQ4_K, WeightType::kQ5_0, WeightType::kQ4_1}) {
    weights.push_back(random_weights(type, kRows, kCols, 31));
  }
  constexpr std::size_t kOut = kTokens * kRows;
  std::vector<float> together(weights.size() * kOut), alone(kOut);
  std::vector<LinearPart> parts;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    parts.push_back(
        {weights[i].view, nullptr, {together.data() + i * kOut, kTokens, kRows, kRows}, false});
  }
  ASSERT_TRUE(
      linear({x.data(), kTokens, kCols, kCols}, parts, options(ComputeMode::kAuto), *pool_).ok());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    LinearPart part = parts[i];
    part.out.data = alone.data();
    ASSERT_TRUE(
        linear({x.data(), kTokens, kCols, kCols}, {&part, 1}, options(ComputeMode::kAuto), *pool_)
            .ok());
    EXPECT_EQ(std::memcmp(alone.data(), together.data() + i * kOut, sizeof(float) * kOut), 0)
        << to_string(weights[i].view.type);
  }
}

TEST_P(LinearTest, ExtremesOfThePackedFormats) {
  // All bits of a block but its fp16 scales alike, all activations at the largest integer.
  for (const WeightType type : kPackedTypes) {
    for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
      const std::int64_t cols = block_elements(type);
      std::vector<std::byte> block(static_cast<std::size_t>(block_bytes(type)),
                                   static_cast<std::byte>(byte));
      const std::size_t place = type == WeightType::kQ6_K ? 208 : 0;
      block[place] = std::byte{0};
      block[place + 1] = std::byte{0x3c};                                               // d = 1
      if (place == 0 && type != WeightType::kQ5_0) block[2] = block[3] = std::byte{0};  // m = 0
      std::vector<float> values(static_cast<std::size_t>(cols));
      expand_packed_row(type, block.data(), cols, values.data());
      double expected = 0;
      for (const float value : values) expected += -127.0 * value;
      const std::vector<float> x(static_cast<std::size_t>(cols), -127.0f);
      float out = 0;
      const WeightView view = {type, 1, cols, block.data()};
      const LinearPart part = {view, nullptr, {&out, 1, 1, 1}, false};
      ASSERT_TRUE(
          linear({x.data(), 1, cols, cols}, {&part, 1}, options(ComputeMode::kAuto), *pool_).ok());
      EXPECT_EQ(out, static_cast<float>(expected)) << to_string(type) << " byte " << byte;
    }
  }
}

TEST_P(LinearTest, NotANumberStaysVisible) {
  const RandomWeights weights = random_weights(WeightType::kF32, 4, 64, 1);
  std::vector<float> x(64, 1.0f);
  x[40] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> out(4);
  const LinearPart part = {weights.view, nullptr, {out.data(), 1, 4, 4}, false};
  ASSERT_TRUE(linear({x.data(), 1, 64, 64}, {&part, 1}, options(ComputeMode::kF32), *pool_).ok());
  for (const float value : out) EXPECT_TRUE(std::isnan(value));
}

TEST_P(LinearTest, TheTableIsTheOneAskedFor) {
  EXPECT_EQ(linear_kernels(GetParam()).isa, GetParam());
}

TEST_P(LinearTest, EmbeddingExpandsRows) {
  for (const WeightType type : kAllTypes) {
    const RandomWeights table = random_weights(type, 10, 96, 31);
    const std::int32_t ids[] = {9, 0, 4, 4};
    std::vector<float> out(4 * 96);
    ASSERT_TRUE(embed_tokens(table.view, ids, GetParam(), {out.data(), 4, 96, 96}).ok());
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t c = 0; c < 96; ++c) {
        const double expected = table.values[static_cast<std::size_t>(ids[t]) * 96 + c];
        EXPECT_NEAR(out[t * 96 + c], expected, 2e-7 * (std::fabs(expected) + 1));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, LinearTest,
                         testing::Values(CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni),
                         name_of);

TEST(Embedding, NamesAnIdOutsideTheVocabulary) {
  const RandomWeights table = random_weights(WeightType::kF32, 10, 8, 1);
  std::vector<float> out(16, -1.0f);
  for (const std::int32_t bad : {10, -1, std::numeric_limits<std::int32_t>::max()}) {
    const std::int32_t ids[] = {3, bad};
    const Status status = embed_tokens(table.view, ids, CpuIsa::kPortable, {out.data(), 2, 8, 8});
    EXPECT_EQ(status.code(), StatusCode::kOutOfRange);
    EXPECT_NE(status.message().find(std::to_string(bad)), std::string::npos) << status.message();
    EXPECT_EQ(out[0], -1.0f);
  }
}

TEST(WeightView, RefusesSizesThatDoNotFit) {
  std::vector<std::byte> bytes(20 * 6);
  EXPECT_TRUE(make_weight_view(WeightType::kQ4_1, 3, 64, bytes).ok());
  EXPECT_EQ(make_weight_view(WeightType::kQ4_1, 3, 48, bytes).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(make_weight_view(WeightType::kQ4_1, 4, 64, bytes).status().code(),
            StatusCode::kDataLoss);
  EXPECT_EQ(make_weight_view(WeightType::kF32, 1, 29, bytes).status().code(),
            StatusCode::kDataLoss);
  EXPECT_EQ(make_weight_view(WeightType::kF32, 0, 30, bytes).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(make_weight_view(WeightType::kF32, 1ll << 31, 1ll << 31, bytes).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace onebeat
