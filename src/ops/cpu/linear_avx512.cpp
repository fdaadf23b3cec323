// SPDX-License-Identifier: Apache-2.0
// AVX-512: products in fp32. Those of repacked weights are in panel/panel_avx512.cpp.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/panel/panel_kernels.h"

#define ONEBEAT_AVX512 ONEBEAT_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")

namespace onebeat {
namespace {

template <int kTokens>
ONEBEAT_AVX512 inline void dot_f32_tokens(const DotTask& task, const float* row, const float* x,
                                          std::int64_t x_stride, std::int64_t token) {
  const std::int64_t cols = task.weight.cols;
  x += token * x_stride;
  __m512 sums[kTokens];
  for (int t = 0; t < kTokens; ++t) sums[t] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < cols; i += 16) {
    const __mmask16 mask = cols - i >= 16 ? static_cast<__mmask16>(0xffff)
                                          : static_cast<__mmask16>((1u << (cols - i)) - 1u);
    const __m512 w = _mm512_maskz_loadu_ps(mask, row + i);
    for (int t = 0; t < kTokens; ++t) {
      sums[t] = _mm512_fmadd_ps(w, _mm512_maskz_loadu_ps(mask, x + t * x_stride + i), sums[t]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    const float sum = _mm512_reduce_add_ps(sums[t]);
    float& out = task.out[(token + t) * task.out_stride + task.row_begin];
    out = task.add ? out + sum : sum;
  }
}

void dot_f32(const DotTask& task, const float* row, const float* x, std::int64_t x_stride) {
  std::int64_t t = 0;
  for (; t + 8 <= task.tokens; t += 8) dot_f32_tokens<8>(task, row, x, x_stride, t);
  for (; t + 4 <= task.tokens; t += 4) dot_f32_tokens<4>(task, row, x, x_stride, t);
  for (; t < task.tokens; ++t) dot_f32_tokens<1>(task, row, x, x_stride, t);
}

/// AVX2 expands rows as fast as they can be read.
void expand_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  kAvx2LinearKernels.expand_row(type, row, cols, out);
}

/// Quantised weights are repacked; the few that are not do well with AVX2.
void dot_quantized(const DotTask& task, const std::byte* x) {
  kAvx2LinearKernels.dot_quantized(task, x);
}

}  // namespace

const LinearKernels kAvx512VnniLinearKernels = {
    CpuIsa::kAvx512Vnni,       activation_row_bytes, quantize_activations, dot_quantized,
    quantize_panel_row_avx512, dot_panels_avx512,    expand_row,           dot_f32};

}  // namespace onebeat
#endif  // ONEBEAT_X86
