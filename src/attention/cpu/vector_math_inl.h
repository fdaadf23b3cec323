// SPDX-License-Identifier: Apache-2.0
// Vector pieces of the attention kernels; included once for each instruction set (Highway's scheme,
// hence the guard).
#if defined(ONEBEAT_ATTENTION_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEBEAT_ATTENTION_CPU_VECTOR_MATH_INL_H_
#undef ONEBEAT_ATTENTION_CPU_VECTOR_MATH_INL_H_
#else
#define ONEBEAT_ATTENTION_CPU_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

// Accumulators live in small arrays, which stay in registers only if the loops over them are
// unrolled.
#ifndef ONEBEAT_UNROLL
#if defined(__clang__)
#define ONEBEAT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ONEBEAT_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

HWY_BEFORE_NAMESPACE();
namespace onebeat::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(FloatTag()));
static_assert(kLanes <= 8 || HWY_TARGET == HWY_AVX3, "load_tail() knows 16 lanes only here");

// Element types of a cache. load() reads exactly as many elements as the tag has lanes.
struct F32Element {
  using Stored = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const float* from) {
    return hn::LoadU(d, from);
  }
};

struct BF16Element {
  using Stored = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
    const hn::Rebind<std::uint16_t, D> d16;
    const hn::Rebind<std::uint32_t, D> d32;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, from))));
  }
};

struct F16Element {
  using Stored = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    const hn::Rebind<hwy::float16_t, D> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
#else
    // Exact for all values: move exponent and fraction into place and let a product shift the
    // exponent by 112; infinities and NaN, which the product makes finite, get the exponent they
    // must have.
    const hn::Rebind<std::uint16_t, D> d16;
    const hn::Rebind<std::uint32_t, D> d32;
    const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, from));
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(d32, 0x8000u)));
    const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(d32, 0x7fffu)));
    const auto scaled = hn::BitCast(
        d32, hn::Mul(hn::BitCast(d, magnitude), hn::BitCast(d, hn::Set(d32, (127u + 112u) << 23))));
    const auto special = hn::Or(magnitude, hn::Set(d32, 0x7f800000u));
    const auto is_special = hn::Gt(hn::BitCast(hn::Rebind<std::int32_t, D>(), magnitude),
                                   hn::Set(hn::Rebind<std::int32_t, D>(), (0x7c00 << 13) - 1));
    const auto value = hn::IfThenElse(hn::RebindMask(d32, is_special), special, scaled);
    return hn::BitCast(d, hn::Or(sign, value));
#endif
  }
};

// e4m3: 4 bits of exponent (bias 7), 3 of fraction, no infinities, NaN where all 7 bits are set.
struct F8Element {
  using Stored = std::uint8_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint8_t* from) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    // Moved by 7 bits, the code of x is fp16's of x / 2^8, subnormal numbers included.
    const hn::Rebind<std::int8_t, D> d8;
    const hn::Rebind<std::int16_t, D> d16;
    const hn::Rebind<hwy::float16_t, D> half;
    const auto bits = hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(from)));
    const auto nan = hn::Set(d16, std::int16_t{0x7f});
    const auto is_nan = hn::VecFromMask(d16, hn::Eq(hn::And(bits, nan), nan));
    const auto sign_and_magnitude = hn::Set(d16, static_cast<std::int16_t>(0xbf80));
    const auto code = hn::Or(hn::And(hn::ShiftLeft<7>(bits), sign_and_magnitude), is_nan);
    return hn::Mul(hn::PromoteTo(d, hn::BitCast(half, code)), hn::Set(d, 256.0f));
#else
    const hn::Rebind<std::uint8_t, D> d8;
    const hn::Rebind<std::uint32_t, D> d32;
    const hn::Rebind<std::int32_t, D> di32;
    const auto bits = hn::PromoteTo(d32, hn::LoadU(d8, from));
    const auto magnitude = hn::And(bits, hn::Set(d32, 0x7fu));
    const auto sign = hn::ShiftLeft<24>(hn::And(bits, hn::Set(d32, 0x80u)));
    const auto normal =
        hn::BitCast(d, hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(d32, 120u << 23)));
    const auto count = hn::BitCast(di32, magnitude);
    const auto subnormal = hn::Mul(hn::ConvertTo(d, count), hn::Set(d, 1.0f / 512));
    const auto is_subnormal = hn::RebindMask(d, hn::Lt(count, hn::Set(di32, 8)));
    const auto value = hn::IfThenElse(is_subnormal, subnormal, normal);
    const auto is_nan = hn::BitCast(d32, hn::VecFromMask(di32, hn::Eq(count, hn::Set(di32, 0x7f))));
    return hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(d32, value), is_nan), sign));
#endif
  }
};

// The last 8 of a row whose length is no multiple of wide vectors, zeros behind them.
template <class Element, class D>
HWY_INLINE hn::Vec<D> load_tail(D d, const typename Element::Stored* from) {
#if HWY_TARGET == HWY_AVX3
  const hn::Half<D> half;
  return hn::ZeroExtendVector(d, Element::load(half, from));
#else
  return Element::load(d, from);  // not reached: 8 is a multiple of the lanes
#endif
}

// 2^x for x <= 0 or so; exactly 1 at 0, and 0 below the normal numbers, -inf included. Relative
// error 2e-9 and the roundings of float.
template <class D>
HWY_INLINE hn::Vec<D> exp2_of(D d, hn::Vec<D> x) {
  const hn::Rebind<std::int32_t, D> di;
  const auto tiny = hn::Lt(x, hn::Set(d, -126.0f));
  const auto clamped = hn::IfThenElse(tiny, hn::Set(d, -126.0f), x);  // NaN stays
  const auto whole = hn::Round(clamped);
  const auto f = hn::Sub(clamped, whole);
  auto p = hn::Set(d, 1.535336220e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.339887442e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.618437357e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550332471e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.402264791e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931472029e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di, whole));
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  return hn::IfThenElse(tiny, hn::Zero(d), scaled);
}

template <class D>
HWY_INLINE hn::Vec<D> tanh_of(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto e = exp2_of(d, hn::Mul(hn::Abs(x), hn::Set(d, -2.0f * 1.44269504089f)));
  return hn::CopySign(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
}

// Sums of the lanes of four vectors, to four floats. Each sum adds its lanes in the same order.
HWY_INLINE void store_sums4(FloatVec a, FloatVec b, FloatVec c, FloatVec e, float* to) {
  if constexpr (kLanes == 1) {
    to[0] = hn::GetLane(a);
    to[1] = hn::GetLane(b);
    to[2] = hn::GetLane(c);
    to[3] = hn::GetLane(e);
  } else {
#if HWY_TARGET != HWY_SCALAR
    const FloatTag d;
    const FloatVec ac = hn::Add(hn::InterleaveLower(d, a, c), hn::InterleaveUpper(d, a, c));
    const FloatVec be = hn::Add(hn::InterleaveLower(d, b, e), hn::InterleaveUpper(d, b, e));
    const FloatVec sums = hn::Add(hn::InterleaveLower(d, ac, be), hn::InterleaveUpper(d, ac, be));
    if constexpr (kLanes == 4) {
      hn::StoreU(sums, d, to);
    } else {
      const hn::Half<FloatTag> half;
      const auto halves = hn::Add(hn::LowerHalf(half, sums), hn::UpperHalf(half, sums));
      if constexpr (kLanes == 8) {
        hn::StoreU(halves, half, to);
      } else {
        const hn::Half<hn::Half<FloatTag>> quarter;
        hn::StoreU(hn::Add(hn::LowerHalf(quarter, halves), hn::UpperHalf(quarter, halves)), quarter,
                   to);
      }
    }
#endif
  }
}

}  // namespace onebeat::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // the guard
