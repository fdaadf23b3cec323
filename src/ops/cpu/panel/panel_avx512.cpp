// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI: vpdpbusd multiplies four columns of 16 rows with four activations that are
// broadcast from memory. With eight tokens at a time a group's weights are expanded once and stay
// in registers.
#include "ops/cpu/isa.h"

#if ONEBEAT_X86
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/cpu/panel/panel_activations.h"
#include "ops/cpu/panel/panel_group_inl.h"
#include "ops/cpu/panel/panel_kernels.h"
#include "ops/cpu/panel/panel_layout.h"

namespace onebeat {
namespace {

/// Bytes between what is read and what is asked for: one processor reads memory as fast as it has
/// requests under way, and its own prefetching stops at every page of 4 KiB.
constexpr std::int64_t kAhead = 4096;

ONEBEAT_AVX512 inline __m512i broadcast(const std::int8_t* four) {
  std::int32_t word;
  std::memcpy(&word, four, sizeof(word));
  return _mm512_set1_epi32(word);
}

/// What an integer product begins with: the negative sum of activations times the centre.
template <WeightType kType>
ONEBEAT_AVX512 inline __m512i first_product(std::int32_t minus) {
  constexpr int kCentre = panel_centre(kType);
  if constexpr (kCentre == 0) return _mm512_setzero_si512();
  return _mm512_slli_epi32(_mm512_set1_epi32(minus), __builtin_ctz(kCentre));
}

template <int kTokens>
struct Sums {
  __m512 products[kTokens];
  __m512 offsets[kTokens];
};

template <WeightType kType, int kTokens>
ONEBEAT_AVX512 inline void accumulate(const GroupWeights& weights, const std::byte* x,
                                      std::int64_t x_row_bytes, std::int64_t cols,
                                      std::int64_t group, Sums<kTokens>& sums) {
  for (int t = 0; t < kTokens; ++t) {
    const std::byte* row = x + t * x_row_bytes;
    const auto* q = reinterpret_cast<const std::int8_t*>(row) + group * kQuantBlock;
    const PanelActivation& a = reinterpret_cast<const PanelActivation*>(row + cols)[group];
    const __m512 d = _mm512_set1_ps(a.d);
    if constexpr (kType == WeightType::kQ6_K) {
      for (int half = 0; half < 2; ++half) {
        __m512i dot = first_product<kType>(a.minus[half]);
        for (int v = 4 * half; v < 4 * half + 4; ++v) {
          dot = _mm512_dpbusd_epi32(dot, weights.columns[v], broadcast(q + 4 * v));
        }
        sums.products[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot),
                                           _mm512_mul_ps(weights.scale[half], d), sums.products[t]);
      }
      continue;
    }
    __m512i dot = first_product<kType>(a.minus[0] + a.minus[1]);
    for (int v = 0; v < 8; ++v) {
      dot = _mm512_dpbusd_epi32(dot, weights.columns[v], broadcast(q + 4 * v));
    }
    sums.products[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(weights.scale[0], d),
                                       sums.products[t]);
    if constexpr (panel_has_offset(kType)) {
      sums.offsets[t] = _mm512_fmadd_ps(weights.offset, _mm512_set1_ps(a.s), sums.offsets[t]);
    }
  }
}

/// Where the products of one panel go.
struct PanelOut {
  float* out;  ///< Of the first token.
  std::int64_t stride;
  __mmask16 rows;
  bool add;
};

/// `fetch`: ask for what lies kAhead, as the first to read this panel should.
template <WeightType kType, int kTokens>
ONEBEAT_AVX512 void dot_panel(const std::byte* panel, std::int64_t cols, bool fetch,
                              const std::byte* x, std::int64_t x_row_bytes, const PanelOut& to) {
  constexpr PanelShape kShape = panel_shape(kType);
  Sums<kTokens> sums;
  for (int t = 0; t < kTokens; ++t) sums.products[t] = sums.offsets[t] = _mm512_setzero_ps();
  const std::byte* head = panel;
  for (std::int64_t g = 0; g < cols / kQuantBlock; ++g) {
    if constexpr (kShape.head_bytes != 0) {
      if (g % 8 == 0) {
        head = panel;
        panel += kShape.head_bytes;
      }
    }
    if (fetch) {
      for (std::int64_t line = 0; line < kShape.group_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(panel + kAhead + line), _MM_HINT_T0);
      }
    }
    accumulate<kType, kTokens>(load_group<kType>(panel, head), x, x_row_bytes, cols, g, sums);
    panel += kShape.group_bytes();
  }
  for (int t = 0; t < kTokens; ++t) {
    float* out = to.out + t * to.stride;
    __m512 sum = sums.products[t];
    if constexpr (panel_has_offset(kType)) sum = _mm512_add_ps(sum, sums.offsets[t]);
    if (to.add) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(to.rows, out));
    _mm512_mask_storeu_ps(out, to.rows, sum);
  }
}

template <WeightType kType>
ONEBEAT_AVX512 void dot_all_panels(const DotTask& task, const std::byte* x) {
  const std::int64_t cols = task.weight.cols;
  const std::int64_t bytes = panel_bytes(kType, cols);
  const std::int64_t x_row_bytes = panel_activation_bytes(cols);
  for (std::int64_t r = task.row_begin; r < task.row_end; r += kPanelRows) {
    const std::byte* panel = task.weight.bytes + r / kPanelRows * bytes;
    const std::int64_t rows = std::min(kPanelRows, task.row_end - r);
    const auto to = [&](std::int64_t t) {
      return PanelOut{task.out + t * task.out_stride + r, task.out_stride,
                      static_cast<__mmask16>((1u << rows) - 1), task.add};
    };
    std::int64_t t = 0;
    for (; t + 8 <= task.tokens; t += 8) {
      dot_panel<kType, 8>(panel, cols, t == 0, x + t * x_row_bytes, x_row_bytes, to(t));
    }
    for (; t + 4 <= task.tokens; t += 4) {
      dot_panel<kType, 4>(panel, cols, t == 0, x + t * x_row_bytes, x_row_bytes, to(t));
    }
    for (; t + 2 <= task.tokens; t += 2) {
      dot_panel<kType, 2>(panel, cols, t == 0, x + t * x_row_bytes, x_row_bytes, to(t));
    }
    if (t < task.tokens) {
      dot_panel<kType, 1>(panel, cols, t == 0, x + t * x_row_bytes, x_row_bytes, to(t));
    }
  }
}

}  // namespace

ONEBEAT_AVX512 void quantize_panel_row_avx512(const float* x, std::int64_t cols, std::byte* out) {
  auto* numbers = reinterpret_cast<PanelActivation*>(out + cols);
  auto* q = reinterpret_cast<__m128i*>(out);
  for (std::int64_t b = 0; b < cols / kQuantBlock; ++b, x += kQuantBlock, q += 2) {
    const __m512 first = _mm512_loadu_ps(x);
    const __m512 last = _mm512_loadu_ps(x + 16);
    const float d =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(first), _mm512_abs_ps(last))) / 127.0f;
    const __m512 inverse = _mm512_set1_ps(d > 0 ? 1.0f / d : 0.0f);
    const __m128i a = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(first, inverse)));
    const __m128i c = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(last, inverse)));
    _mm_store_si128(q, a);
    _mm_store_si128(q + 1, c);
    const int sum_a = _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(a));
    const int sum_c = _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(c));
    numbers[b] = {d, d * static_cast<float>(sum_a + sum_c), {-sum_a, -sum_c}};
  }
}

void dot_panels_avx512(const DotTask& task, const std::byte* x) {
  for_panel_type(task.weight.type,
                 [&](auto type) { dot_all_panels<decltype(type)::kType>(task, x); });
}

}  // namespace onebeat
#endif  // ONEBEAT_X86
