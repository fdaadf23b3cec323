// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>

#include "attention/cuda/decode_kernels.h"
#include "attention/cuda/decode_mma.cuh"

namespace onebeat::cuda {
namespace {

struct Entry {
  CudaAttentionVariant variant;
  const void* function;
};

template <typename S>
Entry entry(std::string_view name) {
  Entry e;
  e.variant = {
      name,        S::D,           S::kTileTokens, S::kRows, S::kSmallPages ? 1 : S::kTokens,
      S::kThreads, S::kSharedBytes};
  e.function = reinterpret_cast<const void*>(&decode_mma<S>);
  return e;
}

// Heads of 64 are half as many bytes a token: granules of 32 tokens keep the bytes, and halve what
// is done once a granule.
template <int kRows, bool kSmallPages>
using D64 = MmaShape<64, 32, 4, 3, kRows, kSmallPages>;
template <int kRows, bool kSmallPages>
using D128 = MmaShape<128, 16, 4, 3, kRows, kSmallPages>;

const auto& entries() {
  static const std::array<Entry, 8> all = {
      entry<D128<8, false>>("mma_d128_r8"),   entry<D128<8, true>>("mma_d128_r8_small_pages"),
      entry<D128<16, false>>("mma_d128_r16"), entry<D128<16, true>>("mma_d128_r16_small_pages"),
      entry<D64<8, false>>("mma_d64_r8"),     entry<D64<8, true>>("mma_d64_r8_small_pages"),
      entry<D64<16, false>>("mma_d64_r16"),   entry<D64<16, true>>("mma_d64_r16_small_pages"),
  };
  return all;
}

}  // namespace

std::span<const CudaAttentionVariant> decode_variants() {
  static const auto variants = [] {
    std::array<CudaAttentionVariant, std::tuple_size_v<std::remove_cvref_t<decltype(entries())>>> v;
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = entries()[i].variant;
    return v;
  }();
  return variants;
}

const void* decode_function(const CudaAttentionVariant& variant) {
  for (const Entry& e : entries()) {
    if (e.variant.name == variant.name) return e.function;
  }
  return nullptr;
}

}  // namespace onebeat::cuda
