// SPDX-License-Identifier: Apache-2.0
// Repacked weights: what they expand to, what products with them are, and that nothing depends on
// company.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/panel/panel_layout.h"
#include "ops/cpu/random_activations.h"
#include "ops/cpu/random_weights.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/weight_packer.h"

namespace onebeat {
namespace {

constexpr WeightType kTypes[] = {WeightType::kQ8_0, WeightType::kQ4_0, WeightType::kQ4_1,
                                 WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ4_K,
                                 WeightType::kQ5_K, WeightType::kQ6_K};

/// A repacked copy with a canary behind it.
struct Packed {
  Packed(const WeightView& weight) : view(weight) {
    const auto size = static_cast<std::size_t>(packed_bytes(weight));
    bytes.assign(size + 64, std::byte{0xa5});
    const std::int64_t panel = panel_bytes(weight.type, weight.cols);
    for (std::int64_t p = 0; p < panels_of(weight.rows); ++p) {
      pack_panel(weight, p, bytes.data() + p * panel);
    }
    for (std::size_t i = size; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], std::byte{0xa5});
    view.bytes = bytes.data();
    view.layout = WeightLayout::kPanels;
  }
  std::vector<std::byte> bytes;
  WeightView view;
};

TEST(PanelLayout, ExpandsToTheBitsOfTheFile) {
  for (const WeightType type : kTypes) {
    for (const std::int64_t rows : {1, 15, 16, 17, 40}) {
      const std::int64_t cols = 3 * block_elements(type);
      const RandomWeights weights = random_weights(type, rows, cols, 5);
      const Packed packed(weights.view);
      std::vector<float> expected(static_cast<std::size_t>(cols));
      std::vector<float> found(static_cast<std::size_t>(cols));
      for (std::int64_t r = 0; r < rows; ++r) {
        linear_kernels(CpuIsa::kPortable)
            .expand_row(type, weights.view.row(r), cols, expected.data());
        expand_panel_row(packed.view, r, found.data());
        for (std::size_t c = 0; c < expected.size(); ++c) {
          ASSERT_EQ(found[c], expected[c]) << to_string(type) << " row " << r << " column " << c;
        }
      }
    }
  }
}

class PanelProductTest : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!supports(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
    pool_ = ThreadPool::create(2).value();
  }
  std::vector<float> multiply(const WeightView& weight, const std::vector<float>& x,
                              std::int64_t tokens) {
    return multiply_with(GetParam(), weight, x, tokens);
  }
  std::vector<float> multiply_with(CpuIsa isa, const WeightView& weight,
                                   const std::vector<float>& x, std::int64_t tokens) {
    std::vector<float> out(static_cast<std::size_t>(tokens * weight.rows),
                           std::numeric_limits<float>::quiet_NaN());
    const LinearPart part = {
        weight, nullptr, {out.data(), tokens, weight.rows, weight.rows}, false};
    const LinearOptions options = {ComputeMode::kAuto, isa, false};
    EXPECT_TRUE(
        linear({x.data(), tokens, weight.cols, weight.cols}, {&part, 1}, options, *pool_).ok());
    return out;
  }
  std::unique_ptr<ThreadPool> pool_;
};

TEST_P(PanelProductTest, AgreesWithDoubles) {
  for (const WeightType type : kTypes) {
    for (const std::int64_t rows : {16, 33, 150}) {
      for (const std::int64_t tokens : {1, 2, 3, 4, 7, 8, 16, 21, 35}) {
        const std::int64_t cols = rows == 33 ? 768 : block_elements(type);
        const RandomWeights weights = random_weights(type, rows, cols, 7);
        const Packed packed(weights.view);
        const std::vector<float> x = random_activations(tokens * cols, 11);
        const std::vector<double> exact = as_quantized(x);
        const std::vector<float> out = multiply(packed.view, x, tokens);
        for (std::int64_t i = 0; i < tokens * rows; ++i) {
          const std::int64_t t = i / rows;
          const std::int64_t r = i % rows;
          double sum = 0;
          double magnitude = 0;
          for (std::int64_t c = 0; c < cols; ++c) {
            const double product = weights.values[static_cast<std::size_t>(r * cols + c)] *
                                   exact[static_cast<std::size_t>(t * cols + c)];
            sum += product;
            magnitude += std::fabs(product);
          }
          ASSERT_NEAR(out[static_cast<std::size_t>(i)], sum, 1e-6 * (4 * magnitude + 1))
              << to_string(type) << " token " << t << " row " << r << " of " << rows;
        }
      }
    }
  }
}

TEST_P(PanelProductTest, ATokensBitsDoNotDependOnItsCompany) {
  for (const WeightType type : kTypes) {
    constexpr std::int64_t kRows = 70;
    constexpr std::int64_t kCols = 768;
    const RandomWeights weights = random_weights(type, kRows, kCols, 3);
    const Packed packed(weights.view);
    const std::vector<float> x = random_activations(67 * kCols, 13);
    std::vector<float> alone;
    for (std::int64_t t = 0; t < 67; ++t) {
      const std::vector<float> row(x.begin() + t * kCols, x.begin() + (t + 1) * kCols);
      const std::vector<float> out = multiply(packed.view, row, 1);
      alone.insert(alone.end(), out.begin(), out.end());
    }
    for (const std::int64_t tokens : {2, 3, 5, 8, 15, 16, 17, 31, 32, 48, 67}) {
      const std::vector<float> out = multiply(packed.view, x, tokens);
      ASSERT_EQ(std::memcmp(out.data(), alone.data(), out.size() * sizeof(float)), 0)
          << to_string(type) << ", " << tokens << " tokens";
    }
  }
}

TEST_P(PanelProductTest, EveryInstructionSetGivesTheSameBits) {
  if (!supports(best_isa()) || best_isa() < CpuIsa::kAvx512Vnni) {
    GTEST_SKIP() << "this machine has one instruction set for repacked weights";
  }
  for (const WeightType type : kTypes) {
    const RandomWeights weights = random_weights(type, 50, 768, 37);
    const Packed packed(weights.view);
    const std::vector<float> x = random_activations(39 * 768, 41);
    EXPECT_EQ(multiply_with(GetParam(), packed.view, x, 39),
              multiply_with(CpuIsa::kAvx512Vnni, packed.view, x, 39))
        << to_string(type);
  }
}

TEST_P(PanelProductTest, ExtremesOfTheFormats) {
  // All stored bits alike, all activations at the largest integer: the integer products' limits.
  for (const WeightType type : kTypes) {
    for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
      for (const float activation : {127.0f, -127.0f}) {
        RandomWeights weights = random_weights(type, 16, 256, 3);
        std::memset(weights.bytes.data(), byte, weights.bytes.size());
        for (std::size_t b = 0; b < weights.bytes.size();
             b += static_cast<std::size_t>(block_bytes(type))) {
          const std::size_t d = b + (type == WeightType::kQ6_K ? 208 : 0);
          const bool offset = block_bytes(type) % 4 == 0;  // {d, m} or {d, dm}: both 1
          for (std::size_t i = 0; i < (offset ? 4u : 2u); i += 2) {
            weights.bytes[d + i] = std::byte{0x00};
            weights.bytes[d + i + 1] = std::byte{0x3c};
          }
        }
        std::vector<float> row(256);
        linear_kernels(CpuIsa::kPortable).expand_row(type, weights.view.bytes, 256, row.data());
        double expected = 0;
        for (const float value : row) expected += static_cast<double>(value) * activation;
        const Packed packed(weights.view);
        const std::vector<float> out =
            multiply(packed.view, std::vector<float>(9 * 256, activation), 9);
        for (const float value : out) {
          ASSERT_NEAR(value, expected, 1e-6 * std::fabs(expected) + 1e-3)
              << to_string(type) << " of bytes " << byte;
        }
      }
    }
  }
}

TEST_P(PanelProductTest, ThePackerKeepsValuesAndLeavesWhatDoesNotPay) {
  WeightPacker packer({ComputeMode::kAuto, GetParam()}, *pool_);
  for (const WeightType type : kTypes) {
    const RandomWeights weights = random_weights(type, 100, 512, 9);
    const WeightView packed = packer.pack(weights.view).value();
    ASSERT_EQ(packed.layout, WeightLayout::kPanels);
    const std::int32_t tokens[] = {0, 15, 16, 99};
    std::vector<float> found(4 * 512);
    std::vector<float> expected(4 * 512);
    ASSERT_TRUE(embed_tokens(packed, tokens, GetParam(), {found.data(), 4, 512, 512}).ok());
    ASSERT_TRUE(
        embed_tokens(weights.view, tokens, GetParam(), {expected.data(), 4, 512, 512}).ok());
    EXPECT_EQ(found, expected) << to_string(type);
  }
  const RandomWeights floats = random_weights(WeightType::kF32, 64, 64, 1);
  EXPECT_EQ(packer.pack(floats.view).value().bytes, floats.view.bytes);
  WeightPacker exact({ComputeMode::kF32, GetParam()}, *pool_);
  const RandomWeights nibbles = random_weights(WeightType::kQ4_1, 64, 64, 1);
  EXPECT_EQ(exact.pack(nibbles.view).value().bytes, nibbles.view.bytes);
}

INSTANTIATE_TEST_SUITE_P(Isa, PanelProductTest,
                         testing::Values(CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx),
                         [](const testing::TestParamInfo<CpuIsa>& isa) {
                           return std::string(to_string(isa.param));
                         });

}  // namespace
}  // namespace onebeat
