// SPDX-License-Identifier: Apache-2.0
// Built once for each instruction set. A step is two small matrix products around a softmax: scores
// = q k^T in blocks of rows x 4 tokens, whose sums over D are folded four at a time; output += p v
// in blocks of rows x vectors of Dv. With few rows (decode) elements of the cache are widened where
// they are used, so the cache is read once and nothing is written; with many (prefill) a step's
// tokens are widened once into working memory. Both do the same arithmetic.
//
// Memory is what decode waits for: while a step is computed, the rows of the next one are fetched,
// a few lines for each token, so that the requests for memory are spread over the step.
#include "attention/cpu/kernels.h"

#include <cmath>
#include <cstring>
#include <limits>

// Instruction sets between the portable one and AVX2 are not worth their code.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/cpu/kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
// After foreach_target:
#include <hwy/highway.h>

#include "attention/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace onebeat::cpu::HWY_NAMESPACE {

// With 32 registers 4 x 4 accumulators fit beside their operands, with 16 only half of that.
constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
constexpr int kScoreRows = kManyRegisters ? 4 : 2;
constexpr int kOutputRows = 4;
constexpr int kOutputVectors = kManyRegisters ? 4 : 2;
// From this many rows on, widening a step's tokens once is cheaper than for each block of rows.
constexpr int kConvertFromRows = 9;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Lines of memory are asked for at the pace at which lines are used, never in bursts: a core has
// room for few requests, and loads that hit the second cache need the same room. They go to the
// second cache, the first is too small.
HWY_INLINE void fetch_line(const char* at) {
  __builtin_prefetch(at, 0, 2);
}

// Walks the lines of up to four rows in rising order.
class FetchWalk {
 public:
  template <class Element>
  HWY_INLINE void begin(const void* base, const std::int64_t* offsets, int first, int count,
                        int dim, Element) {
    left_ = count - first < 4 ? count - first : 4;
    bytes_ = dim * static_cast<int>(sizeof(typename Element::Stored));
    at_ = 0;
    row_ = 0;
    for (int i = 0; i < left_; ++i) {
      rows_[i] = reinterpret_cast<const char*>(static_cast<const typename Element::Stored*>(base) +
                                               offsets[first + i]);
    }
  }
  HWY_INLINE void next_line() {
    if (row_ >= left_) return;
    fetch_line(rows_[row_] + at_);
    at_ += 64;
    if (at_ >= bytes_) {
      at_ = 0;
      ++row_;
    }
  }

 private:
  const char* rows_[4] = {};
  int left_ = 0, bytes_ = 0, at_ = 0, row_ = 0;
};

// The part of a row that one block of output vectors covers.
template <class Element>
HWY_INLINE void fetch_part(const void* base, std::int64_t offset, int elements) {
  const char* part =
      reinterpret_cast<const char*>(static_cast<const typename Element::Stored*>(base) + offset);
  for (int at = 0; at < elements * static_cast<int>(sizeof(typename Element::Stored)); at += 64)
    fetch_line(part + at);
}

template <class Element, int kRows>
HWY_INLINE void score_rows(const StepInput& in, const void* k, const std::int64_t* k_offsets,
                           int first_row, bool fetch) {
  const FloatTag d;
  const auto* base = static_cast<const typename Element::Stored*>(k);
  constexpr int kStepBytes = 4 * kLanes * static_cast<int>(sizeof(typename Element::Stored));
  constexpr int kLinesPerStep = (kStepBytes + 63) / 64;
  const int dim = in.dim;
  const int whole = dim / kLanes * kLanes;
  const int q_stride = padded(dim);
  const float* q = in.q + static_cast<std::int64_t>(first_row) * q_stride;
  float* scores = in.scores + static_cast<std::int64_t>(first_row) * kStepTokens;
  for (int t = 0; t < in.tokens; t += 4) {
    const int last = in.tokens - 1;
    const typename Element::Stored* token[4] = {base + k_offsets[t],
                                                base + k_offsets[t + 1 < last ? t + 1 : last],
                                                base + k_offsets[t + 2 < last ? t + 2 : last],
                                                base + k_offsets[t + 3 < last ? t + 3 : last]};
    FetchWalk walk;
    if (fetch) walk.begin(in.k, in.next_k_offsets, t, in.next_tokens, dim, Element());
    FloatVec sums[kRows][4];
    ONEBEAT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ONEBEAT_UNROLL
      for (int i = 0; i < 4; ++i) sums[r][i] = hn::Zero(d);
    }
    for (int at = 0; at < whole; at += kLanes) {
      ONEBEAT_UNROLL
      for (int line = 0; line < kLinesPerStep; ++line) walk.next_line();
      FloatVec keys[4];
      ONEBEAT_UNROLL
      for (int i = 0; i < 4; ++i) keys[i] = Element::load(d, token[i] + at);
      ONEBEAT_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const FloatVec query = hn::LoadU(d, q + r * q_stride + at);
        ONEBEAT_UNROLL
        for (int i = 0; i < 4; ++i) sums[r][i] = hn::MulAdd(query, keys[i], sums[r][i]);
      }
    }
    if (whole < dim) {
      ONEBEAT_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const FloatVec query = hn::LoadU(d, q + r * q_stride + whole);
        ONEBEAT_UNROLL
        for (int i = 0; i < 4; ++i) {
          sums[r][i] = hn::MulAdd(query, load_tail<Element>(d, token[i] + whole), sums[r][i]);
        }
      }
    }
    ONEBEAT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      store_sums4(sums[r][0], sums[r][1], sums[r][2], sums[r][3], scores + r * kStepTokens + t);
    }
  }
}

template <class Element>
void compute_scores(const StepInput& in, const void* k, const std::int64_t* k_offsets, bool fetch) {
  int row = 0;
  for (; row + kScoreRows <= in.rows; row += kScoreRows) {
    score_rows<Element, kScoreRows>(in, k, k_offsets, row, fetch && row == 0);
  }
  const bool first = fetch && row == 0;
  switch (in.rows - row) {
    case 1:
      score_rows<Element, 1>(in, k, k_offsets, row, first);
      break;
    case 2:
      score_rows<Element, 2>(in, k, k_offsets, row, first);
      break;
    case 3:
      score_rows<Element, 3>(in, k, k_offsets, row, first);
      break;
    default:
      break;
  }
}

// Scores of one row become weights relative to its new maximum; returns the factor for what came
// before.
HWY_INLINE float weigh_row(const StepInput& in, int row) {
  const FloatTag d;
  float* scores = in.scores + static_cast<std::int64_t>(row) * kStepTokens;
  const auto begin = hn::Set(d, static_cast<float>(in.visible_begin[row]));
  const int visible_end = in.visible_end[row] < in.tokens ? in.visible_end[row] : in.tokens;
  const auto end = hn::Set(d, static_cast<float>(visible_end));
  auto maximum = hn::Set(d, in.partials.maxima[row]);
  for (int at = 0; at < kStepTokens; at += kLanes) {
    auto s = hn::LoadU(d, scores + at);
    if (in.cap != 0.0f) s = hn::Mul(hn::Set(d, in.cap), tanh_of(d, s));
    const auto index = hn::Iota(d, static_cast<float>(at));
    const auto visible = hn::And(hn::Ge(index, begin), hn::Lt(index, end));
    s = hn::IfThenElse(visible, s, hn::Set(d, kMinusInfinity));
    maximum = hn::Max(maximum, s);
    hn::StoreU(s, d, scores + at);
  }
  const float old_maximum = in.partials.maxima[row];
  const float new_maximum = hn::GetLane(hn::MaxOfLanes(d, maximum));
  // A row that has seen nothing yet must not compute inf - inf.
  const float reference = new_maximum == kMinusInfinity ? 0.0f : new_maximum;
  const auto subtract = hn::Set(d, reference);
  auto sum = hn::Zero(d);
  for (int at = 0; at < kStepTokens; at += kLanes) {
    const auto p = exp2_of(d, hn::Sub(hn::LoadU(d, scores + at), subtract));
    sum = hn::Add(sum, p);
    hn::StoreU(p, d, scores + at);
  }
  const float factor = hn::GetLane(exp2_of(d, hn::Set(d, old_maximum - reference)));
  in.partials.maxima[row] = new_maximum;
  const auto before = hn::Mul(hn::Set(d, in.partials.sums[row]), hn::Set(d, factor));
  in.partials.sums[row] = hn::GetLane(hn::Add(before, hn::SumOfLanes(d, sum)));
  return factor;
}

template <class Element, int kRows, int kVectors, bool kTail>
HWY_INLINE void output_block(const StepInput& in, const void* v, const std::int64_t* v_offsets,
                             const float* factors, int first_row, int at, bool fetch) {
  const FloatTag d;
  const auto* base = static_cast<const typename Element::Stored*>(v);
  const std::int64_t stride = in.partials.output_stride;
  float* outputs = in.partials.outputs + first_row * stride + at;
  const float* weights = in.scores + static_cast<std::int64_t>(first_row) * kStepTokens;
  FloatVec sums[kRows][kVectors];
  ONEBEAT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const FloatVec factor = hn::Set(d, factors[first_row + r]);
    ONEBEAT_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      sums[r][i] = hn::Mul(hn::LoadU(d, outputs + r * stride + i * kLanes), factor);
    }
  }
  for (int t = 0; t < in.tokens; ++t) {
    if (fetch && t < in.next_tokens) {
      fetch_part<Element>(in.v, in.next_v_offsets[t] + at, kVectors * kLanes);
    }
    const typename Element::Stored* token = base + v_offsets[t] + at;
    FloatVec values[kVectors];
    ONEBEAT_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      values[i] = kTail ? load_tail<Element>(d, token) : Element::load(d, token + i * kLanes);
    }
    ONEBEAT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const FloatVec weight = hn::Set(d, weights[r * kStepTokens + t]);
      ONEBEAT_UNROLL
      for (int i = 0; i < kVectors; ++i) sums[r][i] = hn::MulAdd(weight, values[i], sums[r][i]);
    }
  }
  ONEBEAT_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ONEBEAT_UNROLL
    for (int i = 0; i < kVectors; ++i) hn::StoreU(sums[r][i], d, outputs + r * stride + i * kLanes);
  }
}

template <class Element, int kRows>
HWY_INLINE void output_rows(const StepInput& in, const void* v, const std::int64_t* v_offsets,
                            const float* factors, int first_row, bool fetch) {
  // One row has too few accumulators to hide the latency of a multiply-add; it takes twice the
  // vectors.
  constexpr int kVectors = kRows <= 2 ? 2 * kOutputVectors : kOutputVectors;
  const int whole = in.dim_v / kLanes * kLanes;
  int at = 0;
  for (; at + kVectors * kLanes <= whole; at += kVectors * kLanes) {
    output_block<Element, kRows, kVectors, false>(in, v, v_offsets, factors, first_row, at, fetch);
  }
  for (; at + 2 * kLanes <= whole; at += 2 * kLanes) {
    output_block<Element, kRows, 2, false>(in, v, v_offsets, factors, first_row, at, fetch);
  }
  for (; at + kLanes <= whole; at += kLanes) {
    output_block<Element, kRows, 1, false>(in, v, v_offsets, factors, first_row, at, fetch);
  }
  if (whole < in.dim_v) {
    output_block<Element, kRows, 1, true>(in, v, v_offsets, factors, first_row, whole, fetch);
  }
}

template <class Element>
void compute_outputs(const StepInput& in, const void* v, const std::int64_t* v_offsets,
                     const float* factors, bool fetch) {
  int row = 0;
  for (; row + kOutputRows <= in.rows; row += kOutputRows) {
    output_rows<Element, kOutputRows>(in, v, v_offsets, factors, row, fetch && row == 0);
  }
  const bool first = fetch && row == 0;
  switch (in.rows - row) {
    case 1:
      output_rows<Element, 1>(in, v, v_offsets, factors, row, first);
      break;
    case 2:
      output_rows<Element, 2>(in, v, v_offsets, factors, row, first);
      break;
    case 3:
      output_rows<Element, 3>(in, v, v_offsets, factors, row, first);
      break;
    default:
      break;
  }
}

// Widens a step's tokens to in.converted, rows of padded(dim) floats.
template <class Element>
void convert_tokens(const StepInput& in, const void* from, const std::int64_t* offsets,
                    const std::int64_t* next, int dim) {
  const FloatTag d;
  const auto* base = static_cast<const typename Element::Stored*>(from);
  const int whole = dim / kLanes * kLanes;
  for (int t = 0; t < in.tokens; ++t) {
    if (t < in.next_tokens) fetch_part<Element>(from, next[t], dim);
    const typename Element::Stored* token = base + offsets[t];
    float* to = in.converted + static_cast<std::int64_t>(t) * padded(dim);
    for (int at = 0; at < whole; at += kLanes) hn::StoreU(Element::load(d, token + at), d, to + at);
    if (whole < dim) hn::StoreU(load_tail<Element>(d, token + whole), d, to + whole);
  }
}

template <class Element>
void attend(const StepInput& in) {
  const bool convert = sizeof(typename Element::Stored) < 4 && in.rows >= kConvertFromRows;
  float factors[kQueryTileRows];
  std::int64_t rows_of_converted[kStepTokens];
  if (convert) {
    for (int t = 0; t < in.tokens; ++t)
      rows_of_converted[t] = static_cast<std::int64_t>(t) * padded(in.dim);
    convert_tokens<Element>(in, in.k, in.k_offsets, in.next_k_offsets, in.dim);
    compute_scores<F32Element>(in, in.converted, rows_of_converted, false);
  } else {
    compute_scores<Element>(in, in.k, in.k_offsets, true);
  }
  for (int row = 0; row < in.rows; ++row) factors[row] = weigh_row(in, row);
  if (convert) {
    for (int t = 0; t < in.tokens; ++t)
      rows_of_converted[t] = static_cast<std::int64_t>(t) * padded(in.dim_v);
    convert_tokens<Element>(in, in.v, in.v_offsets, in.next_v_offsets, in.dim_v);
    compute_outputs<F32Element>(in, in.converted, rows_of_converted, factors, false);
  } else {
    compute_outputs<Element>(in, in.v, in.v_offsets, factors, true);
  }
}

float exp2_of_one(float x) {
  const FloatTag d;
  return hn::GetLane(exp2_of(d, hn::Set(d, x)));
}

void merge(const RowPartials& into, const RowPartials& from, std::int32_t rows,
           std::int32_t dim_v) {
  // Rows in scratch are not padded: 8 is the most lanes that every Dv is a multiple of.
  const hn::CappedTag<float, 8> d;
  const int lanes = static_cast<int>(hn::MaxLanes(d));
  for (int row = 0; row < rows; ++row) {
    const float right = from.maxima[row];
    if (right == kMinusInfinity) continue;
    const float left = into.maxima[row];
    float* to = into.outputs + row * into.output_stride;
    const float* add = from.outputs + row * from.output_stride;
    if (left == kMinusInfinity) {
      into.maxima[row] = right;
      into.sums[row] = from.sums[row];
      std::memcpy(to, add, static_cast<std::size_t>(dim_v) * sizeof(float));
      continue;
    }
    const float maximum = left > right ? left : right;
    const float left_factor = exp2_of_one(left - maximum);
    const float right_factor = exp2_of_one(right - maximum);
    const auto a = hn::Set(d, left_factor);
    const auto b = hn::Set(d, right_factor);
    into.maxima[row] = maximum;
    into.sums[row] = hn::GetLane(
        hn::MulAdd(hn::Set(d, from.sums[row]), b, hn::Mul(hn::Set(d, into.sums[row]), a)));
    for (int at = 0; at < dim_v; at += lanes) {
      const auto scaled = hn::Mul(hn::LoadU(d, to + at), a);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, add + at), b, scaled), d, to + at);
    }
  }
}

void finish(const FinishInput& in) {
  constexpr float kLog2E = 1.44269504089f;
  constexpr double kLn2 = 0.69314718055994531;
  const hn::CappedTag<float, 8> d;
  const int lanes = static_cast<int>(hn::MaxLanes(d));
  const bool empty = in.maximum == kMinusInfinity;
  if (in.lse != nullptr) {
    *in.lse = empty ? kMinusInfinity
                    : static_cast<float>((static_cast<double>(in.maximum) +
                                          std::log2(static_cast<double>(in.sum))) *
                                         kLn2);
  }
  float factor = 0.0f;
  if (!empty) {
    float own = 1.0f;
    float total = in.sum;
    if (in.sink != nullptr) {
      const float sink = *in.sink * kLog2E;
      const float maximum = in.maximum > sink ? in.maximum : sink;
      own = exp2_of_one(in.maximum - maximum);
      total = in.sum * own + exp2_of_one(sink - maximum);
    }
    factor = own / total * in.value_scale;
  }
  const auto scale = hn::Set(d, factor);
  for (int at = 0; at < in.dim_v; at += lanes) {
    hn::StoreU(empty ? hn::Zero(d) : hn::Mul(hn::LoadU(d, in.accumulators + at), scale), d,
               in.out + at);
  }
}

// Rounds to nearest, ties to even; a NaN stays one (quiet, its upper bits kept).
std::uint16_t bf16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void store_bf16(const float* from, std::uint16_t* to, std::int32_t dim) {
  for (int i = 0; i < dim; ++i) to[i] = bf16_bits(from[i]);
}

std::uint16_t f16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return static_cast<std::uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u)
    return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to 65,536 or is above
  std::uint32_t result;
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 leaves the wanted bits, rounded, at the end of the fraction.
    float shifted;
    std::memcpy(&shifted, &magnitude, sizeof(shifted));
    shifted += 0.5f;
    std::memcpy(&result, &shifted, sizeof(result));
    result -= 0x3f000000u;
  } else {
    result = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | result);
}

void store_f16(const float* from, std::uint16_t* to, std::int32_t dim) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  const hn::CappedTag<float, 8> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  static_assert(hn::MaxLanes(d) == 8);
  for (int at = 0; at < dim; at += 8) {
    hn::StoreU(hn::DemoteTo(d16, hn::LoadU(d, from + at)), d16,
               reinterpret_cast<hwy::float16_t*>(to + at));
  }
  static_cast<void>(f16_bits);
#else
  for (int i = 0; i < dim; ++i) to[i] = f16_bits(from[i]);
#endif
}

// Rounds to nearest, ties to even, at most 448 in magnitude; any NaN becomes 0x7f.
std::uint8_t e4m3_code(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const std::uint32_t sign = bits >> 24 & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7f;
  std::uint32_t code;
  if (magnitude >= 0x43e00000u) {
    code = 0x7e;
  } else if (magnitude < 0x3c800000u) {
    // Subnormal: adding 2^14 leaves the wanted bits, rounded, at the end of the fraction.
    float shifted;
    std::memcpy(&shifted, &magnitude, sizeof(shifted));
    shifted += 16384.0f;
    std::memcpy(&code, &shifted, sizeof(code));
    code -= 0x46800000u;
  } else {
    code = (magnitude - (120u << 23) + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
  }
  return static_cast<std::uint8_t>(sign | code);
}

void store_f8(const float* from, std::uint8_t* to, std::int32_t dim, float scale) {
  for (int i = 0; i < dim; ++i) to[i] = e4m3_code(from[i] / scale);
}

const KernelTable& table() {
  static constexpr KernelTable kTable = {
#if HWY_TARGET == HWY_AVX3
    "avx512",
#elif HWY_TARGET == HWY_AVX2
    "avx2",
#else
    "portable",
#endif
    HWY_TARGET,
    nullptr,
    &attend<F32Element>,
    &attend<F16Element>,
    &attend<BF16Element>,
    &attend<F8Element>,
    &merge,
    &finish,
    &store_f16,
    &store_bf16,
    &store_f8,
  };
  return kTable;
}

}  // namespace onebeat::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <array>
#include <string>

#include "attention/cpu/kernels_amx.h"
#include "base/error.h"
#include "device/amx.h"

namespace onebeat {
namespace cpu {
namespace {

constexpr std::size_t kVariants = ((HWY_TARGETS & HWY_AVX3) != 0 ? 2 : 0) +
                                  ((HWY_TARGETS & HWY_AVX2) != 0 ? 1 : 0) +
                                  ((HWY_STATIC_TARGET & (HWY_AVX3 | HWY_AVX2)) != 0 ? 0 : 1);

#if HWY_TARGETS & HWY_AVX3
// AVX-512, and tiles where there are rows enough for them.
template <void (*kTiles)(const StepInput&), void (*kVectors)(const StepInput&)>
void attend_amx(const StepInput& in) {
  if (in.same_bits || !amx_takes(in.rows, in.dim, in.dim_v)) return kVectors(in);
  kTiles(in);
}

KernelTable amx_table() {
  KernelTable table = N_AVX3::table();
  table.name = "avx512_amx";
  table.arrange_queries = &amx_arrange_queries;
  table.attend_f16 = &attend_amx<amx_attend_f16, N_AVX3::attend<N_AVX3::F16Element>>;
  table.attend_bf16 = &attend_amx<amx_attend_bf16, N_AVX3::attend<N_AVX3::BF16Element>>;
  return table;
}
#endif

std::array<KernelTable, kVariants> all_tables() {
  std::array<KernelTable, kVariants> tables;
  std::size_t next = 0;
#if HWY_TARGETS & HWY_AVX3
  tables[next++] = amx_table();
  tables[next++] = N_AVX3::table();
#endif
#if HWY_TARGETS & HWY_AVX2
  tables[next++] = N_AVX2::table();
#endif
  if (next < kVariants) tables[next] = HWY_STATIC_DISPATCH(table)();
  return tables;
}

bool is_supported(const KernelTable& table) {
  // Asked once: the processor takes microseconds to answer, under a hypervisor tens of them.
  static const std::int64_t supported = hwy::SupportedTargets() | HWY_STATIC_TARGET;
  return (table.target & supported) != 0 && (table.arrange_queries == nullptr || amx_usable());
}

}  // namespace

std::span<const KernelTable> kernel_tables() {
  static const std::array<KernelTable, kVariants> tables = all_tables();
  return tables;
}

Result<const KernelTable*> choose_kernels(std::string_view name) {
  std::string names;
  for (const KernelTable& table : kernel_tables()) {
    const bool supported = is_supported(table);
    if (supported && (name.empty() || name == table.name)) return &table;
    if (!names.empty()) names += ", ";
    names += table.name;
    if (!supported) names += " (not on this processor)";
  }
  return unsupported("attention variant '{}'; this build has {}", name, names);
}

}  // namespace cpu

std::span<const CpuVariant> cpu_attention_variants() {
  static const auto variants = [] {
    std::array<CpuVariant, cpu::kVariants> result;
    for (std::size_t i = 0; i < result.size(); ++i) {
      const cpu::KernelTable& table = cpu::kernel_tables()[i];
      result[i] = {table.name, cpu::is_supported(table)};
    }
    return result;
  }();
  return variants;
}

}  // namespace onebeat
#endif  // HWY_ONCE
