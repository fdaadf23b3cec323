// SPDX-License-Identifier: Apache-2.0
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/sample_passes.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include "ops/cpu/sample_passes.h"

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace onebeat::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;

LogitRange range_pass(const float* logits, std::size_t count) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto infinity = hn::Set(d, kInfinity);
  // Four chains, since a maximum takes several cycles. A NaN is not below infinity.
  auto m0 = hn::Neg(infinity), m1 = m0, m2 = m0, m3 = m0;
  auto ok = hn::Lt(m0, infinity);
  std::size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto a = hn::LoadU(d, logits + i);
    const auto b = hn::LoadU(d, logits + i + lanes);
    const auto e = hn::LoadU(d, logits + i + 2 * lanes);
    const auto f = hn::LoadU(d, logits + i + 3 * lanes);
    ok = hn::And(ok, hn::And(hn::And(hn::Lt(a, infinity), hn::Lt(b, infinity)),
                             hn::And(hn::Lt(e, infinity), hn::Lt(f, infinity))));
    m0 = hn::Max(m0, a);
    m1 = hn::Max(m1, b);
    m2 = hn::Max(m2, e);
    m3 = hn::Max(m3, f);
  }
  LogitRange range;
  range.usable = hn::AllTrue(d, ok);
  range.largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
  for (; i < count; ++i) {
    range.usable = range.usable && logits[i] < kInfinity;
    range.largest = std::max(range.largest, logits[i]);
  }
  return range;
}

std::size_t index_pass(const float* values, std::size_t count, float value) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto wanted = hn::Set(d, value);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    if (!hn::AllFalse(d, hn::Eq(hn::LoadU(d, values + i), wanted))) break;
  }
  while (i < count && values[i] != value) ++i;
  return i;
}

double exp_pass(const float* logits, std::size_t count, float largest, float scale, float* weights,
                double* block_sums) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, largest);
  const auto factor = hn::Set(d, scale);
  // Highway's Exp is 0 below -104 but knows no infinities.
  const auto lowest = hn::Set(d, -120.0f);
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kWeightBlock) {
    const std::size_t end = std::min(count, begin + kWeightBlock);
    auto sum = hn::Zero(d);
    std::size_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      const auto power = hn::Mul(hn::Sub(hn::LoadU(d, logits + i), shift), factor);
      const auto weight = hn::Exp(d, hn::Max(power, lowest));
      hn::StoreU(weight, d, weights + i);
      sum = hn::Add(sum, weight);
    }
    double block = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; i < end; ++i) {
      weights[i] = std::exp(std::max((logits[i] - largest) * scale, -120.0f));
      block += weights[i];
    }
    block_sums[begin / kWeightBlock] = block;
    total += block;
  }
  return total;
}

std::size_t collect_pass(const float* values, std::size_t count, float bound, std::size_t& from,
                         SampleCandidate* out, std::size_t room) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto limit = hn::Set(d, bound);
  std::size_t written = 0;
  std::size_t i = from;
  const auto take = [&](std::size_t end) {
    for (; i < end && written < room; ++i) {
      // Written either way, so that nothing depends on a comparison that cannot be foretold.
      out[written] = {values[i], static_cast<std::int32_t>(i)};
      written += values[i] > bound ? 1 : 0;
    }
  };
  while (i + lanes <= count && written < room) {
    if (hn::AllFalse(d, hn::Gt(hn::LoadU(d, values + i), limit))) {
      i += lanes;
    } else {
      take(i + lanes);
    }
  }
  take(count);
  from = i;
  return written;
}

}  // namespace onebeat::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onebeat::cpu {
namespace {

HWY_EXPORT(range_pass);
HWY_EXPORT(index_pass);
HWY_EXPORT(exp_pass);
HWY_EXPORT(collect_pass);

}  // namespace

LogitRange range_of(const float* logits, std::size_t count) {
  return HWY_DYNAMIC_DISPATCH(range_pass)(logits, count);
}

std::size_t index_of(const float* values, std::size_t count, float value) {
  return HWY_DYNAMIC_DISPATCH(index_pass)(values, count, value);
}

double exp_weights(const float* logits, std::size_t count, float largest, float scale,
                   float* weights, double* block_sums) {
  return HWY_DYNAMIC_DISPATCH(exp_pass)(logits, count, largest, scale, weights, block_sums);
}

std::size_t collect_above(const float* values, std::size_t count, float bound, std::size_t& from,
                          SampleCandidate* out, std::size_t room) {
  return HWY_DYNAMIC_DISPATCH(collect_pass)(values, count, bound, from, out, room);
}

}  // namespace onebeat::cpu
#endif  // HWY_ONCE
