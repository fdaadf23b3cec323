// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/cpu/kernels.h"
#include "attention/oracle.h"
#include "onebeat/attention.h"
#include "onebeat/thread_pool.h"

namespace onebeat {
namespace {

std::vector<const cpu::KernelTable*> supported_tables() {
  std::vector<const cpu::KernelTable*> tables;
  for (const CpuVariant& variant : cpu_attention_variants()) {
    if (variant.supported) tables.push_back(*cpu::choose_kernels(variant.name));
  }
  return tables;
}

// Floats whose roundings are hard: every 16-bit value, its neighbours, and the middles between two
// of them.
std::vector<float> hard_floats(KvType type) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const auto value = static_cast<float>(type == KvType::kBF16 ? oracle::from_bf16(half)
                                                                : oracle::from_f16(half));
    const auto next_half = static_cast<std::uint16_t>(bits + 1);
    const double next =
        type == KvType::kBF16 ? oracle::from_bf16(next_half) : oracle::from_f16(next_half);
    const auto middle = static_cast<float>((double{value} + next) / 2);
    for (const float x :
         {value, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, INFINITY),
          std::nextafter(value, 0.0f), std::nextafter(value, INFINITY)}) {
      values.push_back(x);
    }
  }
  for (const float x : {65519.0f, 65519.99f, 65520.0f, 65536.0f, 1e30f, 3.4e38f, INFINITY, 5.96e-8f,
                        2.98e-8f, 2.99e-8f, 1e-40f}) {
    values.push_back(x);
    values.push_back(-x);
  }
  while (values.size() % 8 != 0) values.push_back(0.0f);
  return values;
}

// Nearest, ties to even, by search among the neighbours of a first guess: in double everything here
// is exact.
bool is_nearest(KvType type, float x, std::uint16_t bits) {
  const auto value = [&](std::uint16_t b) {
    return type == KvType::kBF16 ? oracle::from_bf16(b) : oracle::from_f16(b);
  };
  const std::uint16_t infinity = type == KvType::kBF16 ? 0x7f80 : 0x7c00;
  if (std::isnan(x)) return std::isnan(value(bits)) && std::signbit(x) == (bits >> 15 != 0);
  if (std::signbit(x) != (bits >> 15 != 0)) return false;
  const auto magnitude = static_cast<std::uint16_t>(bits & 0x7fff);
  if (magnitude > infinity) return false;
  // Infinity stands where the next finite value would be.
  const auto finite = [&](std::uint16_t m) {
    if (m != infinity) return value(m);
    const auto largest = static_cast<std::uint16_t>(infinity - 1);
    return 2 * value(largest) - value(static_cast<std::uint16_t>(infinity - 2));
  };
  const double target = std::abs(double{x});
  if (std::isinf(target)) return magnitude == infinity;
  if (magnitude == infinity && target >= finite(infinity)) return true;
  const double error = std::abs(finite(magnitude) - target);
  for (const int step : {-1, 1}) {
    const int neighbour = magnitude + step;
    if (neighbour < 0 || neighbour > infinity) continue;
    const double other = std::abs(finite(static_cast<std::uint16_t>(neighbour)) - target);
    if (other < error || (other == error && magnitude % 2 == 1)) return false;
  }
  return true;
}

TEST(StoreHalf, RoundsToNearestEvenWithTheSameBitsInEveryVariant) {
  for (const KvType type : {KvType::kBF16, KvType::kF16}) {
    const std::vector<float> values = hard_floats(type);
    std::vector<std::uint16_t> first;
    for (const cpu::KernelTable* table : supported_tables()) {
      std::vector<std::uint16_t> stored(values.size(), 0x1234);
      const auto store = type == KvType::kBF16 ? table->store_bf16 : table->store_f16;
      store(values.data(), stored.data(), static_cast<std::int32_t>(values.size()));
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_TRUE(is_nearest(type, values[i], stored[i]))
            << table->name << ": " << std::hexfloat << values[i] << " became " << std::hex
            << stored[i];
      }
      if (first.empty()) first = stored;
      ASSERT_EQ(stored, first) << table->name;
    }
  }
}

// All 65,536 values of both types, loaded as the only key of a request: V passes through unchanged.
TEST(LoadHalf, EveryValueIsWidenedExactly) {
  for (const KvType type : {KvType::kBF16, KvType::kF16}) {
    for (const cpu::KernelTable* table : supported_tables()) {
      constexpr int kDim = 512;
      for (std::uint32_t begin = 0; begin < 65536; begin += kDim) {
        std::vector<std::uint16_t> v(kDim);
        for (std::uint32_t i = 0; i < kDim; ++i) v[i] = static_cast<std::uint16_t>(begin + i);
        const std::vector<std::uint16_t> k(16, 0);
        const std::vector<float> q(16, 0.0f);
        std::vector<float> out(kDim, 0.0f), scores(cpu::kStepTokens),
            converted(cpu::kStepTokens * kDim);
        float maximum = -INFINITY, sum = 0.0f;
        const std::int64_t offset = 0;
        const std::int32_t from = 0, to = 1;
        cpu::StepInput in;
        in.rows = 1;
        in.dim = 16;
        in.dim_v = kDim;
        in.tokens = 1;
        in.q = q.data();
        in.k = k.data();
        in.v = v.data();
        in.k_offsets = in.v_offsets = &offset;
        in.visible_begin = &from;
        in.visible_end = &to;
        in.partials = {&maximum, &sum, out.data(), kDim};
        in.scores = scores.data();
        in.converted = converted.data();
        (type == KvType::kBF16 ? table->attend_bf16 : table->attend_f16)(in);
        for (std::size_t i = 0; i < kDim; ++i) {
          const double expected =
              type == KvType::kBF16 ? oracle::from_bf16(v[i]) : oracle::from_f16(v[i]);
          if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(out[i])) << table->name << " " << v[i];
          } else {
            ASSERT_EQ(double{out[i]}, expected) << table->name << " " << v[i];
          }
        }
      }
    }
  }
}

// The rule of KvPool::k_scales, by search: the nearest of the 127 magnitudes, the even one of two.
std::uint8_t nearest_e4m3(float x) {
  if (std::isnan(x)) return 0x7f;
  static const std::vector<double> magnitudes = [] {
    std::vector<double> all;
    for (int code = 0; code < 0x7f; ++code)
      all.push_back(oracle::from_e4m3(static_cast<std::uint8_t>(code)));
    return all;
  }();
  const double target = std::abs(double{x});
  std::size_t best = 0;
  for (std::size_t code = 1; code < magnitudes.size(); ++code) {
    const double error = std::abs(magnitudes[code] - target);
    const double least = std::abs(magnitudes[best] - target);
    if (error < least || (error == least && code % 2 == 0)) best = code;
  }
  if (std::isinf(x)) best = 0x7e;
  return static_cast<std::uint8_t>(best | (std::signbit(x) ? 0x80 : 0));
}

TEST(StoreF8, RoundsToNearestEvenAndSaturatesInEveryVariant) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 65536; ++bits)
    values.push_back(std::bit_cast<float>(bits << 16));  // all of bf16
  for (int code = 0; code < 0x7e; ++code) {
    const double value = oracle::from_e4m3(static_cast<std::uint8_t>(code));
    const double next = oracle::from_e4m3(static_cast<std::uint8_t>(code + 1));
    const auto middle = static_cast<float>((value + next) / 2);
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, INFINITY)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  for (const float x : {448.0f, 463.99f, 464.0f, 464.01f, 480.0f, 1e30f, 1e-40f}) {
    values.push_back(x);
    values.push_back(-x);
  }
  for (const float scale : {1.0f, 0.0123f, 3.7f, 1e-30f}) {
    std::vector<std::uint8_t> expected;
    for (const float value : values) expected.push_back(nearest_e4m3(value / scale));
    for (const cpu::KernelTable* table : supported_tables()) {
      std::vector<std::uint8_t> stored(values.size());
      table->store_f8(values.data(), stored.data(), static_cast<std::int32_t>(values.size()),
                      scale);
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(int{stored[i]}, int{expected[i]})
            << table->name << ": " << std::hexfloat << values[i] << " / " << scale;
      }
    }
  }
}

// All 256 codes, as the value of the only key of a request; one row widens them where they are
// used, many rows first.
TEST(LoadF8, EveryCodeIsWidenedExactly) {
  constexpr int kDim = 256;
  for (const int rows : {1, 12}) {
    for (const cpu::KernelTable* table : supported_tables()) {
      std::vector<std::uint8_t> v(kDim);
      for (std::size_t i = 0; i < kDim; ++i) v[i] = static_cast<std::uint8_t>(i);
      const std::vector<std::uint8_t> k(16, 0);
      const auto some = static_cast<std::size_t>(rows);
      const std::vector<float> q(16 * some, 0.0f);
      std::vector<float> out(kDim * some, 0.0f), scores(cpu::kStepTokens * some),
          converted(cpu::kStepTokens * kDim), maxima(some, -INFINITY), sums(some, 0.0f);
      const std::int64_t offset = 0;
      const std::vector<std::int32_t> from(some, 0), to(some, 1);
      cpu::StepInput in;
      in.rows = rows;
      in.dim = 16;
      in.dim_v = kDim;
      in.tokens = 1;
      in.q = q.data();
      in.k = k.data();
      in.v = v.data();
      in.k_offsets = in.v_offsets = &offset;
      in.visible_begin = from.data();
      in.visible_end = to.data();
      in.partials = {maxima.data(), sums.data(), out.data(), kDim};
      in.scores = scores.data();
      in.converted = converted.data();
      table->attend_f8(in);
      for (std::size_t i = 0; i < out.size(); ++i) {
        const double expected = oracle::from_e4m3(v[i % kDim]);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(out[i])) << table->name << " " << i;
        } else {
          ASSERT_EQ(double{out[i]}, expected) << table->name << " " << i;
        }
      }
    }
  }
}

// Exact in the type.
float sample(KvType type, std::size_t i) {
  return type == KvType::kF8E4M3
             ? static_cast<float>(oracle::from_e4m3(static_cast<std::uint8_t>(i % 60 + 40)))
             : static_cast<float>(i) / 4;
}

TEST(AppendKv, StoresEachTokenInItsSlotAndNothingElse) {
  AttentionGeometry g;
  g.num_heads = 4;
  g.num_kv_heads = 2;
  g.head_dim = 16;
  g.head_dim_v = 24;
  g.page_tokens = 4;
  auto made = ThreadPool::create(2);
  ASSERT_TRUE(made.ok());
  const auto pool = std::move(*made);
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kF8E4M3}) {
    for (const KvLayout layout : {KvLayout::kRuns, KvLayout::kNhd}) {
      g.kv_type = type;
      constexpr int kPages = 300;
      const auto size = static_cast<std::size_t>(size_of(type));
      std::vector<std::byte> k(kPages * 4 * 2 * 16 * size, std::byte{0xff});
      std::vector<std::byte> v(kPages * 4 * 2 * 24 * size, std::byte{0xff});
      AppendLaunch launch;
      launch.kv = make_kv_pool(g, layout, kPages, k.data(), v.data());
      // Powers of two, so that all is exact.
      const bool scaled = type == KvType::kF8E4M3;
      const float k_scales[] = {scaled ? 0.25f : 1.0f, 1.0f};
      const float v_scales[] = {1.0f, scaled ? 8.0f : 1.0f};
      if (scaled) {
        launch.kv.k_scales = k_scales;
        launch.kv.v_scales = v_scales;
      }
      const int tokens = 700;
      std::vector<float> new_k(tokens * 2 * 16), new_v(tokens * 2 * 24);
      for (std::size_t i = 0; i < new_k.size(); ++i) new_k[i] = sample(type, i % 251);
      for (std::size_t i = 0; i < new_v.size(); ++i) new_v[i] = sample(type, i % 241);
      launch.k = dense_head_rows<const float>(new_k.data(), tokens, 2, 16);
      launch.v = dense_head_rows<const float>(new_v.data(), tokens, 2, 24);
      std::vector<std::int32_t> slots(kPages * 4);
      for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int32_t>(i);
      std::mt19937 random(1);
      std::shuffle(slots.begin(), slots.end(), random);
      slots.resize(tokens);
      slots[5] = -1;
      slots[6] = kPages * 4;
      slots[7] = -2;
      launch.slots = slots;
      AttentionReport report;
      launch.report = &report;
      EXPECT_EQ(append_kv(launch, *pool).code(), StatusCode::kOutOfRange);
      EXPECT_EQ(report.faults, std::uint32_t{kFaultSlot});

      std::vector<bool> k_seen(k.size() / size), v_seen(v.size() / size);
      for (std::size_t t = 0; t < tokens; ++t) {
        if (t >= 5 && t <= 7) continue;
        const std::int64_t page = slots[t] / 4, offset = slots[t] % 4;
        for (std::int64_t h = 0; h < 2; ++h) {
          const KvPool& kv = launch.kv;
          for (std::int64_t d = 0; d < 16; ++d) {
            const std::int64_t at =
                page * kv.k_page_stride + offset * kv.k_token_stride + h * kv.k_head_stride + d;
            k_seen[static_cast<std::size_t>(at)] = true;
            ASSERT_EQ(oracle::element(type, k.data(), at),
                      double{new_k[(t * 2 + static_cast<std::size_t>(h)) * 16 +
                                   static_cast<std::size_t>(d)]} /
                          k_scales[h]);
          }
          for (std::int64_t d = 0; d < 24; ++d) {
            const std::int64_t at =
                page * kv.v_page_stride + offset * kv.v_token_stride + h * kv.v_head_stride + d;
            v_seen[static_cast<std::size_t>(at)] = true;
            ASSERT_EQ(oracle::element(type, v.data(), at),
                      double{new_v[(t * 2 + static_cast<std::size_t>(h)) * 24 +
                                   static_cast<std::size_t>(d)]} /
                          v_scales[h]);
          }
        }
      }
      for (std::size_t i = 0; i < k_seen.size(); ++i) {
        if (!k_seen[i]) {
          ASSERT_TRUE(std::isnan(oracle::element(type, k.data(), static_cast<std::int64_t>(i))));
        }
      }
      for (std::size_t i = 0; i < v_seen.size(); ++i) {
        if (!v_seen[i]) {
          ASSERT_TRUE(std::isnan(oracle::element(type, v.data(), static_cast<std::int64_t>(i))));
        }
      }
      if (scaled) {
        const float bad[] = {1.0f, -2.0f};
        AppendLaunch refused = launch;
        refused.kv.v_scales = bad;
        EXPECT_EQ(append_kv(refused, *pool).code(), StatusCode::kInvalidArgument);
      }
      launch.k.num_heads = 1;
      EXPECT_EQ(append_kv(launch, *pool).code(), StatusCode::kPlanMismatch);
    }
  }
}

}  // namespace
}  // namespace onebeat
