// SPDX-License-Identifier: Apache-2.0
// For tests: weights of every type with random bytes that make finite numbers, and their values by
// the formats' formulas.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include "ops/cpu/packed_blocks.h"
#include "ops/weight.h"

namespace onebeat {

struct RandomWeights {
  std::vector<std::byte> bytes;
  std::vector<double> values;  ///< [rows, cols]
  WeightView view;
};

/// The value of fp16 bits, computed from its definition.
inline double half_value(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// Random fp16 bits of a magnitude between 2^-9 and 2^-1, sometimes subnormal or zero.
template <typename Random>
std::uint16_t random_half(Random& random) {
  const std::uint32_t word = static_cast<std::uint32_t>(random());
  const std::uint32_t exponent = (word >> 16) % 17 == 0 ? 0 : 6 + (word >> 16) % 8;
  return static_cast<std::uint16_t>((word & 0x83ffu) | exponent << 10);
}

/// Weights of a packed type, whose expansion is compared with golden values in its own test.
inline RandomWeights random_packed_weights(WeightType type, std::int64_t rows, std::int64_t cols,
                                           std::uint64_t seed) {
  std::mt19937_64 random(seed);
  RandomWeights made;
  made.view = {type, rows, cols, nullptr};
  made.bytes.resize(static_cast<std::size_t>(made.view.size_bytes()));
  for (std::byte& byte : made.bytes) byte = static_cast<std::byte>(random());
  std::vector<std::ptrdiff_t> scales = {0, 2};
  if (type == WeightType::kQ5_0) scales = {0};
  if (type == WeightType::kQ6_K) scales = {208};
  for (std::byte* block = made.bytes.data(); block != made.bytes.data() + made.bytes.size();
       block += block_bytes(type)) {
    for (const std::ptrdiff_t place : scales) {
      const std::uint16_t bits = random_half(random);
      std::memcpy(block + place, &bits, 2);
    }
  }
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  expand_packed_row(type, made.bytes.data(), rows * cols, values.data());
  made.values.assign(values.begin(), values.end());
  made.view.bytes = made.bytes.data();
  return made;
}

inline RandomWeights random_weights(WeightType type, std::int64_t rows, std::int64_t cols,
                                    std::uint64_t seed) {
  if (type >= WeightType::kQ5_0) return random_packed_weights(type, rows, cols, seed);
  std::mt19937_64 random(seed);
  RandomWeights made;
  made.view = {type, rows, cols, nullptr};
  made.bytes.resize(static_cast<std::size_t>(made.view.size_bytes()));
  for (std::byte& byte : made.bytes) byte = static_cast<std::byte>(random());
  const auto put = [&](std::byte* place, std::uint16_t bits) { std::memcpy(place, &bits, 2); };
  const std::int64_t blocks = rows * cols / block_elements(type);
  for (std::int64_t b = 0; b < blocks; ++b) {
    std::byte* block = made.bytes.data() + b * block_bytes(type);
    if (type == WeightType::kF32) {
      const float value = std::uniform_real_distribution<float>(-1, 1)(random);
      std::memcpy(block, &value, 4);
      made.values.push_back(value);
    } else if (type == WeightType::kF16) {
      const std::uint16_t bits = random_half(random);
      put(block, bits);
      made.values.push_back(half_value(bits));
    } else if (type == WeightType::kBF16) {
      const float value = std::uniform_real_distribution<float>(-1, 1)(random);
      const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
      put(block, bits);
      made.values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
    } else {
      const std::uint16_t d = random_half(random);
      const std::uint16_t m = random_half(random);
      put(block, d);
      if (type == WeightType::kQ4_1) put(block + 2, m);
      for (int i = 0; i < kQuantBlock; ++i) {
        if (type == WeightType::kQ8_0) {
          made.values.push_back(half_value(d) * static_cast<std::int8_t>(block[2 + i]));
          continue;
        }
        const std::byte* nibbles = block + (type == WeightType::kQ4_0 ? 2 : 4);
        const int byte = std::to_integer<int>(nibbles[i % 16]);
        const int q = i < 16 ? byte & 15 : byte >> 4;
        made.values.push_back(type == WeightType::kQ4_0 ? half_value(d) * (q - 8)
                                                        : half_value(d) * q + half_value(m));
      }
    }
  }
  made.view.bytes = made.bytes.data();
  return made;
}

}  // namespace onebeat
