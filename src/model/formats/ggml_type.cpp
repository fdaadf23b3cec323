// SPDX-License-Identifier: Apache-2.0
#include "model/formats/ggml_type.h"

#include <fmt/format.h>

#include <array>

#include "base/check.h"

namespace onebeat {
namespace {

// By type number. Types without block_bytes are known by name only, so that an error can say what
// the file holds.
constexpr auto kTypes = std::to_array<GgmlTypeInfo>({
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"Q4_0", 32, 2 + 16},      // scale, 4-bit values
    {"Q4_1", 32, 2 + 2 + 16},  // scale, minimum, 4-bit values
    {"Q4_2 (removed)", 32, 0},
    {"Q4_3 (removed)", 32, 0},
    {"Q5_0", 32, 2 + 4 + 16},      // scale, fifth bits, 4-bit values
    {"Q5_1", 32, 2 + 2 + 4 + 16},  // scale, minimum, fifth bits, 4-bit values
    {"Q8_0", 32, 2 + 32},          // scale, 8-bit values
    {"Q8_1", 32, 0},
    {"Q2_K", 256, 0},
    {"Q3_K", 256, 0},
    {"Q4_K", 256, 2 + 2 + 12 + 128},  // scales of scales and minima, both at 6 bits, 4-bit values
    {"Q5_K", 256, 2 + 2 + 12 + 32 + 128},  // the same, and fifth bits
    {"Q6_K", 256, 128 + 64 + 16 + 2},      // low 4 bits, high 2 bits, 8-bit scales, scale
    {"Q8_K", 256, 0},
    {"IQ2_XXS", 256, 0},
    {"IQ2_XS", 256, 0},
    {"IQ3_XXS", 256, 0},
    {"IQ1_S", 256, 0},
    {"IQ4_NL", 32, 0},
    {"IQ3_S", 256, 0},
    {"IQ2_S", 256, 0},
    {"IQ4_XS", 256, 0},
    {"I8", 1, 0},
    {"I16", 1, 0},
    {"I32", 1, 0},
    {"I64", 1, 0},
    {"F64", 1, 0},
    {"IQ1_M", 256, 0},
    {"BF16", 1, 2},
    {"Q4_0_4_4 (removed)", 32, 0},
    {"Q4_0_4_8 (removed)", 32, 0},
    {"Q4_0_8_8 (removed)", 32, 0},
    {"TQ1_0", 256, 0},
    {"TQ2_0", 256, 0},
    {"IQ4_NL_4_4 (removed)", 32, 0},
    {"IQ4_NL_4_8 (removed)", 32, 0},
    {"IQ4_NL_8_8 (removed)", 32, 0},
    {"MXFP4", 32, 0},
});

static_assert(kTypes[static_cast<std::size_t>(GgmlType::kQ8_0)].name == "Q8_0");
static_assert(kTypes[static_cast<std::size_t>(GgmlType::kQ4_K)].block_bytes == 144);
static_assert(kTypes[static_cast<std::size_t>(GgmlType::kQ5_K)].block_bytes == 176);
static_assert(kTypes[static_cast<std::size_t>(GgmlType::kQ6_K)].block_bytes == 210);
static_assert(kTypes[static_cast<std::size_t>(GgmlType::kBF16)].name == "BF16");

}  // namespace

const GgmlTypeInfo& ggml_type_info(GgmlType type) {
  const auto number = static_cast<std::size_t>(type);
  ONEBEAT_CHECK(number < kTypes.size() && kTypes[number].block_bytes != 0);
  return kTypes[number];
}

std::optional<GgmlType> ggml_type_from_number(std::uint32_t number) {
  if (number >= kTypes.size() || kTypes[number].block_bytes == 0) return std::nullopt;
  return static_cast<GgmlType>(number);
}

std::string ggml_type_label(std::uint32_t number) {
  return fmt::format("{} ({})", number < kTypes.size() ? kTypes[number].name : "unknown", number);
}

std::string_view readable_ggml_types() {
  return "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K";
}

}  // namespace onebeat
