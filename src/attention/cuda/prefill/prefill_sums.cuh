// SPDX-License-Identifier: Apache-2.0
// A warp group's arithmetic over the KV tiles of its 64 query tokens: scores, online softmax and
// output. Warp w has query tokens 16w to 16w + 15, a thread two of them. Scores come out in the
// layout in which the second product takes them, so probabilities never leave registers.
#pragma once

#include <cstdint>

#include "attention/cuda/prefill/prefill_shape.cuh"

namespace onebeat::cuda {

inline constexpr float kPrefillMinusInfinity = -__builtin_huge_valf();
inline constexpr float kPrefillLog2e = 1.4426950408889634f;
inline constexpr float kPrefillLn2 = 0.69314718055994531f;

template <typename S>
class PrefillSums {
  using Element = typename S::Element;
  static constexpr int kOctets = S::kTileTokens / 8;
  static constexpr int kKvPanel = S::kTileTokens * 128;

 public:
  __device__ __forceinline__ PrefillSums(const PrefillParams& p, int lane)
      : lane_(lane), soft_cap_(p.soft_cap) {
    pre_scale_ = p.soft_cap > 0.0f ? 2.0f * kPrefillLog2e * p.scale / p.soft_cap : 0.0f;
    unit_ = p.soft_cap > 0.0f ? kPrefillLog2e : p.scale * kPrefillLog2e;
  }

  /// Starts a tile: `position` and `len` as the tile's, `row` the first of the warp's.
  __device__ __forceinline__ void reset(const PrefillParams& p, const PrefillTile& tile, int group,
                                        int warp) {
#pragma unroll
    for (int h = 0; h < 2; ++h) maximum_[h] = kPrefillMinusInfinity, sum_[h] = 0.0f;
#pragma unroll
    for (int i = 0; i < S::D / 2; ++i) output_[i] = 0.0f;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const SeenTokens seen(p, tile.position + group * 64 + warp * 16 + lane_ / 4 + 8 * h,
                            tile.len);
      low_[h] = seen.low;
      high_[h] = seen.high;
    }
    all_low_ = SeenTokens(p, tile.position + group * 64 + 63, tile.len).low;
    all_high_ = SeenTokens(p, tile.position + group * 64, tile.len).high;
  }

  /// Starts scores = q * K^T; one group of products.
  __device__ __forceinline__ void start_scores(std::uint32_t q, std::uint32_t k) {
    const std::uint64_t a = ptx::panel_descriptor(q, 64 * 128);
    const std::uint64_t b = ptx::panel_descriptor(k, kKvPanel);
    hold(scores_);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < S::D / 16; ++i) {
      Element::wgmma_rows(scores_, ptx::descriptor_behind(a, i / 4 * 64 * 128 + i % 4 * 32),
                          ptx::descriptor_behind(b, i / 4 * kKvPanel + i % 4 * 32), i != 0);
    }
    ptx::wgmma_commit();
  }

  /// Starts output += probabilities * V; one group of products.
  __device__ __forceinline__ void start_output(std::uint32_t v) {
    const std::uint64_t b = ptx::panel_descriptor(v, kKvPanel);
    hold(output_);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < S::kTileTokens / 16; ++i) {
      Element::wgmma_columns(output_, weights_[i], ptx::descriptor_behind(b, i * 16 * 128));
    }
    ptx::wgmma_commit();
  }

  /// Waits until at most kPending groups of products are incomplete.
  template <int kPending>
  __device__ __forceinline__ void wait_scores() {
    ptx::wgmma_wait<kPending>();
    hold(scores_);
  }
  /// `condition`, but known only when all probabilities are: the compiler would else move what
  /// soften() computes behind the products that it is to run beside.
  [[nodiscard]] __device__ __forceinline__ bool when_soft(bool condition) const {
    return condition || sum_[0] + sum_[1] < 0.0f;  // sums are not negative
  }
  __device__ __forceinline__ void wait_output() {
    ptx::wgmma_wait<0>();
    hold(output_);
  }

  /// Scores of the KV tile from `token` on become probabilities relative to the new maximum.
  __device__ __forceinline__ void soften(std::uint32_t token) {
    if (soft_cap_ > 0.0f) {
#pragma unroll
      for (int i = 0; i < S::kTileTokens / 2; ++i) scores_[i] = capped(scores_[i]);
    }
    if (token < all_low_ || token + S::kTileTokens > all_high_) {
#pragma unroll
      for (int j = 0; j < kOctets; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const std::uint32_t at = token + j * 8 + lane_ % 4 * 2 + e % 2;
          if (at < low_[e / 2] || at >= high_[e / 2]) scores_[4 * j + e] = kPrefillMinusInfinity;
        }
    }
    rose_ = false;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = fmaxf(scores_[2 * h], scores_[2 * h + 1]);
#pragma unroll
      for (int j = 1; j < kOctets; ++j)
        top = fmaxf(top, fmaxf(scores_[4 * j + 2 * h], scores_[4 * j + 2 * h + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      top = fmaxf(top * unit_, maximum_[h]);
      rose_ |= top > maximum_[h];
      const float reference = top == kPrefillMinusInfinity ? 0.0f : top;
      factor_[h] = ptx::exp2_fast(maximum_[h] - reference);
      maximum_[h] = top;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kOctets; ++j) {
        float& x = scores_[4 * j + 2 * h];
        float& y = scores_[4 * j + 2 * h + 1];
        x = ptx::exp2_fast(fmaf(x, unit_, -reference));
        y = ptx::exp2_fast(fmaf(y, unit_, -reference));
        sum += x + y;
      }
      sum_[h] = sum_[h] * factor_[h] + sum;
    }
  }

  /// Rounds the probabilities for the second product. Requires: no product under way reads them.
  __device__ __forceinline__ void round_weights() {
#pragma unroll
    for (int j = 0; j < kOctets; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        weights_[j / 2][j % 2 * 2 + h] =
            Element::pack(scores_[4 * j + 2 * h], scores_[4 * j + 2 * h + 1]);
      }
  }

  /// Makes the output relative to the new maximum. Requires: no product under way adds to it.
  __device__ __forceinline__ void rescale_output() {
    if (!__any_sync(~0u, rose_)) return;
#pragma unroll
    for (int j = 0; j < S::D / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) output_[4 * j + e] *= factor_[e / 2];
  }

  /// Writes the warp's 16 query tokens.
  __device__ __forceinline__ void write(const PrefillParams& p, const PrefillTile& tile, int group,
                                        int warp) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = sum_[h];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      const std::uint32_t row = group * 64 + warp * 16 + lane_ / 4 + 8 * h;
      const bool live = row < tile.rows;
      const std::int64_t token = std::int64_t{tile.first_row} + row;
      const float scale = scale_of(p, tile.head, maximum_[h], sum);
      if (live && lane_ % 4 == 0) write_lse(p, tile, row, maximum_[h], sum);
      auto* out = static_cast<std::uint16_t*>(p.out) + token * p.out_token_stride +
                  tile.head * p.out_head_stride;
      // The four threads of a row have two columns of each octet; of every four octets each gets a
      // whole one.
      const int q = lane_ % 4;
#pragma unroll
      for (int j = 0; j < S::D / 8; j += 4) {
        std::uint32_t v[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          v[i] = Element::pack(output_[4 * (j + i) + 2 * h] * scale,
                               output_[4 * (j + i) + 2 * h + 1] * scale);
        exchange(v[0], v[1], q & 1, 1);
        exchange(v[2], v[3], q & 1, 1);
        exchange(v[0], v[2], q & 2, 2);
        exchange(v[1], v[3], q & 2, 2);
        if (live) {
          *reinterpret_cast<uint4*>(out + (j + q) * 8) = make_uint4(v[0], v[1], v[2], v[3]);
        }
      }
    }
  }

 private:
  /// Nothing that touches these registers is moved across this point.
  template <int kCount>
  __device__ __forceinline__ static void hold(float (&values)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
  }

  /// Threads whose number differs in bit `mask` exchange: the upper one's `a` for the lower's `b`.
  __device__ __forceinline__ static void exchange(std::uint32_t& a, std::uint32_t& b, bool upper,
                                                  int mask) {
    const std::uint32_t got = __shfl_xor_sync(~0u, upper ? a : b, mask);
    if (upper) {
      a = got;
    } else {
      b = got;
    }
  }

  [[nodiscard]] __device__ __forceinline__ float capped(float score) const {
    // tanh(x) = 1 - 2 / (exp(2x) + 1); the hardware's own tanh is too coarse
    const float power = ptx::exp2_fast(score * pre_scale_);
    return soft_cap_ * (1.0f - __fdividef(2.0f, power + 1.0f));
  }

  /// What the output is multiplied by at the end; sinks take weight and give no value.
  [[nodiscard]] __device__ __forceinline__ static float scale_of(const PrefillParams& p,
                                                                 std::uint32_t head, float maximum,
                                                                 float sum) {
    if (!(sum > 0.0f)) return 0.0f;
    if (p.sinks == nullptr) return 1.0f / sum;
    const float sink = p.sinks[head] * kPrefillLog2e;
    const float reference = fmaxf(maximum, sink);
    const float weight = ptx::exp2_fast(maximum - reference);
    return weight / (sum * weight + ptx::exp2_fast(sink - reference));
  }

  __device__ __forceinline__ static void write_lse(const PrefillParams& p, const PrefillTile& tile,
                                                   std::uint32_t row, float maximum, float sum) {
    if (p.lse == nullptr) return;
    const std::int64_t place = p.lse_request_stride != 0
                                   ? tile.request * p.lse_request_stride +
                                         (std::int64_t{tile.token} + row) * p.lse_token_stride
                                   : (std::int64_t{tile.first_row} + row) * p.lse_token_stride;
    const std::int64_t at = place + tile.head * p.lse_head_stride;
    if (at < 0 || at >= p.lse_size) return;
    p.lse[at] = sum > 0.0f ? (maximum + ptx::log2_fast(sum)) * kPrefillLn2 : kPrefillMinusInfinity;
  }

  float scores_[S::kTileTokens / 2];
  float output_[S::D / 2];
  std::uint32_t weights_[S::kTileTokens / 16][4];
  float maximum_[2], sum_[2], factor_[2];  // base-2 units; this thread's part of the sum
  std::uint32_t low_[2], high_[2];         // each row sees tokens [low, high)
  std::uint32_t all_low_, all_high_;       // seen by every row of the warp group
  bool rose_ = false;
  int lane_;
  float soft_cap_, pre_scale_, unit_;
};

}  // namespace onebeat::cuda
