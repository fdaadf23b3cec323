// SPDX-License-Identifier: Apache-2.0
// Block types against the values that another implementation of the formats gives (their making is
// told in tools/make_block_golden.py), for every instruction set and from a row's middle.
#include "ops/cpu/packed_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"

namespace onebeat {
namespace {

struct GoldenBlock {
  WeightType type;
  std::vector<std::byte> bytes;
  std::vector<std::uint32_t> bits;  // Of the values.
};

std::vector<GoldenBlock> read_golden() {
  const std::map<std::string, WeightType> types = {{"Q5_0", WeightType::kQ5_0},
                                                   {"Q5_1", WeightType::kQ5_1},
                                                   {"Q4_K", WeightType::kQ4_K},
                                                   {"Q5_K", WeightType::kQ5_K},
                                                   {"Q6_K", WeightType::kQ6_K}};
  const char* source = std::getenv("ONEBEAT_SOURCE_DIR");
  std::ifstream file(std::string(source == nullptr ? "." : source) +
                     "/tests/golden/block_types.txt");
  std::vector<GoldenBlock> blocks;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream in(line);
    std::string name, bytes, bits;
    in >> name >> bytes >> bits;
    GoldenBlock block{types.at(name), {}, {}};
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
      block.bytes.push_back(static_cast<std::byte>(std::stoul(bytes.substr(i, 2), nullptr, 16)));
    }
    for (std::size_t i = 0; i < bits.size(); i += 8) {
      block.bits.push_back(static_cast<std::uint32_t>(std::stoul(bits.substr(i, 8), nullptr, 16)));
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

TEST(PackedBlocks, EqualsTheGoldenValuesToTheBit) {
  const auto blocks = read_golden();
  ASSERT_EQ(blocks.size(), 21U);
  for (const CpuIsa isa : supported_isas()) {
    for (const GoldenBlock& block : blocks) {
      const auto elements = static_cast<std::size_t>(block_elements(block.type));
      ASSERT_EQ(block.bits.size(), elements);
      ASSERT_EQ(static_cast<std::int64_t>(block.bytes.size()), block_bytes(block.type));
      // Two of them, so that the second one's place is checked too.
      std::vector<std::byte> row = block.bytes;
      row.insert(row.end(), block.bytes.begin(), block.bytes.end());
      std::vector<float> out(2 * elements + 1, -7.0F);
      linear_kernels(isa).expand_row(block.type, row.data(), 2 * block_elements(block.type),
                                     out.data());
      for (std::size_t i = 0; i < 2 * elements; ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), block.bits[i % elements])
            << to_string(block.type) << " element " << i << " on " << to_string(isa) << ": "
            << out[i] << " instead of " << std::bit_cast<float>(block.bits[i % elements]);
      }
      EXPECT_EQ(out.back(), -7.0F) << "written past the end";
    }
  }
}

}  // namespace
}  // namespace onebeat
