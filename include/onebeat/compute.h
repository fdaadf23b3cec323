// SPDX-License-Identifier: Apache-2.0
// How numbers are computed: the exactness of matrix products and the instruction sets that carry
// them.
#pragma once

#include <cstdint>
#include <string_view>

namespace onebeat {

/// How products with quantised weights are computed.
enum class ComputeMode : std::uint8_t {
  /// The fastest: activations are quantised to 8 bits in blocks of 32 and multiplied as integers
  /// where the weights are quantised too; unquantised weights are multiplied in fp32. On tiles
  /// (CpuIsa::kAmx) many tokens at once are multiplied in bf16 with sums in fp32 instead, where
  /// unquantised weights and what they meet are sums of two bf16 numbers each.
  kAuto,
  /// Weights are expanded to fp32 as they are read and activations stay fp32: exact to fp32
  /// rounding.
  kF32,
};

/// Instruction sets of a CPU that have kernels of their own.
enum class CpuIsa : std::uint8_t {
  kPortable,    ///< Plain C++.
  kAvx2,        ///< AVX2, FMA and F16C.
  kAvx512Vnni,  ///< AVX-512 F, BW, VL, DQ and VNNI.
  kAmx,         ///< The same, and tiles of bf16 for many tokens at once.
};

/// "portable", "avx2", "avx512vnni", "amx"; static storage.
[[nodiscard]] std::string_view to_string(CpuIsa isa);
/// "auto" or "f32"; static storage.
[[nodiscard]] std::string_view to_string(ComputeMode mode);

}  // namespace onebeat
