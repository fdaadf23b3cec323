// SPDX-License-Identifier: Apache-2.0
// The element types of tensors in GGUF files: number, name, and the size of a block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace onebeat {

/// Types that can be read; the values are those of the file format.
// NOLINTBEGIN(readability-identifier-naming): the format's own names
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};
// NOLINTEND(readability-identifier-naming)

/// A type's name and the size of its blocks; a row of a tensor is a whole number of blocks.
struct GgmlTypeInfo {
  std::string_view name;             ///< As the format spells it, such as "Q4_K".
  std::uint32_t block_elements = 1;  ///< Elements in a block; 1 for plain numbers.
  std::uint32_t block_bytes = 0;     ///< Bytes of a block.
};

/// The facts about a readable type.
[[nodiscard]] const GgmlTypeInfo& ggml_type_info(GgmlType type);

/// The type with this number in the file, or nothing if it is not readable here.
[[nodiscard]] std::optional<GgmlType> ggml_type_from_number(std::uint32_t number);

/// The name of any type number for messages: "IQ2_XXS (16)", or "unknown (99)".
[[nodiscard]] std::string ggml_type_label(std::uint32_t number);

/// All readable types, by name, for messages.
[[nodiscard]] std::string_view readable_ggml_types();

}  // namespace onebeat
