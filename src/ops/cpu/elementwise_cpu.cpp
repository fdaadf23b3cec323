// SPDX-License-Identifier: Apache-2.0
// Norms and activations, compiled once for each vector instruction set by Highway, which chooses at
// run time.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/elementwise_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <cmath>

#include "ops/activation.h"
#include "ops/norm.h"

HWY_BEFORE_NAMESPACE();
namespace onebeat::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// 1 / rms.
float norm_scale(const float* x, float epsilon, std::int64_t cols) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= cols; i += 2 * lanes) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + i + lanes);
    even = hn::MulAdd(a, a, even);
    odd = hn::MulAdd(b, b, odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < cols; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(cols) + epsilon);
}

void norm_row(const float* x, const float* gain, float epsilon, std::int64_t cols, float* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float scale = norm_scale(x, epsilon, cols);
  const auto factor = hn::Set(d, scale);
  std::int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factor), hn::LoadU(d, gain + i)), d, out + i);
  }
  for (; i < cols; ++i) out[i] = x[i] * scale * gain[i];
}

void norm_add_row(const float* x, const float* gain, float epsilon, std::int64_t cols, float* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float scale = norm_scale(x, epsilon, cols);
  const auto factor = hn::Set(d, scale);
  std::int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) {
    const auto normed = hn::Mul(hn::LoadU(d, x + i), factor);
    hn::StoreU(hn::MulAdd(normed, hn::LoadU(d, gain + i), hn::LoadU(d, out + i)), d, out + i);
  }
  for (; i < cols; ++i) out[i] += x[i] * scale * gain[i];
}

/// z / (1 + exp(-slope)): beyond 88 Highway's Exp is no longer infinity's neighbour but nonsense;
/// the quotient is 0 there anyway.
template <typename D>
hn::Vec<D> times_sigmoid(D d, hn::Vec<D> z, hn::Vec<D> slope) {
  const auto power = hn::Exp(d, hn::Min(hn::Neg(slope), hn::Set(d, 88.0f)));
  return hn::Div(z, hn::Add(hn::Set(d, 1.0f), power));
}

/// The tangent's argument, doubled: (1 + tanh(u)) / 2 is 1 / (1 + exp(-2 * u)).
constexpr float kGeluSlope = 1.5957691216057308f;  // 2 * sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715f;

void gelu_mul_row(float* gate, const float* up, std::int64_t cols) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto slope = hn::Set(d, kGeluSlope);
  const auto cubic = hn::Set(d, kGeluSlope * kGeluCubic);
  std::int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) {
    const auto z = hn::LoadU(d, gate + i);
    const auto twice = hn::Mul(z, hn::MulAdd(cubic, hn::Mul(z, z), slope));
    hn::StoreU(hn::Mul(times_sigmoid(d, z, twice), hn::LoadU(d, up + i)), d, gate + i);
  }
  for (; i < cols; ++i) {
    const float z = gate[i];
    const float twice = kGeluSlope * z * (1.0f + kGeluCubic * z * z);
    gate[i] = z / (1.0f + std::exp(-twice)) * up[i];
  }
}

void silu_mul_row(float* gate, const float* up, std::int64_t cols) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) {
    const auto z = hn::LoadU(d, gate + i);
    hn::StoreU(hn::Mul(times_sigmoid(d, z, z), hn::LoadU(d, up + i)), d, gate + i);
  }
  for (; i < cols; ++i) gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

}  // namespace onebeat::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onebeat {
namespace {

HWY_EXPORT(norm_row);
HWY_EXPORT(norm_add_row);
HWY_EXPORT(silu_mul_row);
HWY_EXPORT(gelu_mul_row);

/// Rows of a few thousand numbers take well under a microsecond: fewer are not worth waking a
/// thread.
constexpr std::int64_t kRowGrain = 8;

}  // namespace

void rms_norm(ConstMatrix x, const float* gain, float epsilon, Matrix out, ThreadPool& pool) {
  pool.parallel_for(x.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      HWY_DYNAMIC_DISPATCH(norm_row)(x.row(t), gain, epsilon, x.cols, out.row(t));
    }
  });
}

void rms_norm_add(ConstMatrix x, const float* gain, float epsilon, Matrix out, ThreadPool& pool) {
  pool.parallel_for(x.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      HWY_DYNAMIC_DISPATCH(norm_add_row)(x.row(t), gain, epsilon, x.cols, out.row(t));
    }
  });
}

void silu_mul(Matrix gate, ConstMatrix up, ThreadPool& pool) {
  pool.parallel_for(gate.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      HWY_DYNAMIC_DISPATCH(silu_mul_row)(gate.row(t), up.row(t), gate.cols);
    }
  });
}

void gelu_mul(Matrix gate, ConstMatrix up, ThreadPool& pool) {
  pool.parallel_for(gate.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      HWY_DYNAMIC_DISPATCH(gelu_mul_row)(gate.row(t), up.row(t), gate.cols);
    }
  });
}

}  // namespace onebeat
#endif  // HWY_ONCE
