// SPDX-License-Identifier: Apache-2.0
// The portable kernels, and the definition of what the others must compute.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/activation_blocks.h"
#include "ops/cpu/half.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/packed_blocks.h"

namespace onebeat {
namespace {

int integer_dot(WeightType type, const std::byte* block, const std::int8_t* x) {
  int sum = 0;
  if (type == WeightType::kQ8_0) {
    for (int i = 0; i < kQuantBlock; ++i) {
      sum += static_cast<std::int8_t>(block[2 + i]) * x[i];
    }
    return sum;
  }
  const std::byte* nibbles = block + (type == WeightType::kQ4_0 ? 2 : 4);
  for (int i = 0; i < kQuantBlock / 2; ++i) {
    const int byte = std::to_integer<int>(nibbles[i]);
    sum += (byte & 15) * x[i] + (byte >> 4) * x[i + kQuantBlock / 2];
  }
  return sum;
}

float dot_row(const WeightView& weight, const std::byte* row, const ActivationBlock* x) {
  const std::int64_t blocks = weight.cols / kQuantBlock;
  float total = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* block = row + b * block_bytes(weight.type);
    const float d = float_of_half(load_u16(block));
    total += d * x[b].d * static_cast<float>(integer_dot(weight.type, block, x[b].q));
    if (weight.type == WeightType::kQ4_0) total -= 8.0f * d * x[b].s;
    if (weight.type == WeightType::kQ4_1) total += float_of_half(load_u16(block + 2)) * x[b].s;
  }
  return total;
}

void dot_quantized(const DotTask& task, const std::byte* x) {
  if (is_packed(task.weight.type)) return dot_packed_portable(task, x);
  const std::int64_t x_row_bytes = activation_row_bytes(task.weight.type, task.weight.cols);
  for (std::int64_t r = task.row_begin; r < task.row_end; ++r) {
    for (std::int64_t t = 0; t < task.tokens; ++t) {
      const float value = dot_row(task.weight, task.weight.row(r),
                                  reinterpret_cast<const ActivationBlock*>(x + t * x_row_bytes));
      float& out = task.out[t * task.out_stride + r];
      out = task.add ? out + value : value;
    }
  }
}

void expand_block(WeightType type, const std::byte* block, float* out) {
  const float d = float_of_half(load_u16(block));
  if (type == WeightType::kQ8_0) {
    for (int i = 0; i < kQuantBlock; ++i) {
      out[i] = d * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
    }
    return;
  }
  const bool centred = type == WeightType::kQ4_0;
  const float offset = centred ? -8.0f * d : float_of_half(load_u16(block + 2));
  const std::byte* nibbles = block + (centred ? 2 : 4);
  for (int i = 0; i < kQuantBlock / 2; ++i) {
    const int byte = std::to_integer<int>(nibbles[i]);
    out[i] = d * static_cast<float>(byte & 15) + offset;
    out[i + kQuantBlock / 2] = d * static_cast<float>(byte >> 4) + offset;
  }
}

void expand_row(WeightType type, const std::byte* row, std::int64_t cols, float* out) {
  switch (type) {
    case WeightType::kF32:
      std::memcpy(out, row, static_cast<std::size_t>(cols) * sizeof(float));
      return;
    case WeightType::kF16:
      for (std::int64_t i = 0; i < cols; ++i) out[i] = float_of_half(load_u16(row + 2 * i));
      return;
    case WeightType::kBF16:
      for (std::int64_t i = 0; i < cols; ++i) out[i] = float_of_bf16(load_u16(row + 2 * i));
      return;
    case WeightType::kQ5_0:
    case WeightType::kQ5_1:
    case WeightType::kQ4_K:
    case WeightType::kQ5_K:
    case WeightType::kQ6_K:
      return expand_packed_row(type, row, cols, out);
    default:
      for (std::int64_t b = 0; b < cols / kQuantBlock; ++b) {
        expand_block(type, row + b * block_bytes(type), out + b * kQuantBlock);
      }
  }
}

void dot_f32(const DotTask& task, const float* row, const float* x, std::int64_t x_stride) {
  constexpr int kLanes = 8;
  const std::int64_t cols = task.weight.cols;
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    const float* values = x + t * x_stride;
    float lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= cols; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += row[i + lane] * values[i + lane];
    }
    float total = 0;
    for (; i < cols; ++i) total += row[i] * values[i];
    for (const float lane : lanes) total += lane;
    float& out = task.out[t * task.out_stride + task.row_begin];
    out = task.add ? out + total : total;
  }
}

}  // namespace

std::int64_t activation_row_bytes(WeightType, std::int64_t cols) {
  const std::int64_t bytes =
      cols / kQuantBlock * static_cast<std::int64_t>(sizeof(ActivationBlock));
  return (bytes + 63) / 64 * 64;
}

void quantize_activations(WeightType, const float* x, std::int64_t cols, std::byte* out) {
  auto* blocks = reinterpret_cast<ActivationBlock*>(out);
  for (std::int64_t b = 0; b < cols / kQuantBlock; ++b, x += kQuantBlock) {
    float largest = 0;
    for (int i = 0; i < kQuantBlock; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float d = largest / 127.0f;
    const float inverse = d > 0 ? 1.0f / d : 0.0f;
    int sum = 0;
    for (int i = 0; i < kQuantBlock; ++i) {
      // Clamped before the conversion: what is no number must not become an undefined integer.
      const float scaled = std::max(-127.0f, std::min(127.0f, std::nearbyintf(x[i] * inverse)));
      const int q = scaled == scaled ? static_cast<int>(scaled) : 0;
      blocks[b].q[i] = static_cast<std::int8_t>(q);
      sum += q;
    }
    blocks[b].d = d;
    blocks[b].s = d * static_cast<float>(sum);
  }
}

const LinearKernels kPortableLinearKernels = {CpuIsa::kPortable,
                                              activation_row_bytes,
                                              quantize_activations,
                                              dot_quantized,
                                              nullptr,
                                              nullptr,
                                              expand_row,
                                              dot_f32};

const LinearKernels& linear_kernels(CpuIsa isa) {
  ONEBEAT_CHECK(supports(isa));
#if ONEBEAT_X86
  if (isa == CpuIsa::kAvx2) return kAvx2LinearKernels;
  if (isa == CpuIsa::kAvx512Vnni || isa == CpuIsa::kAmx) return kAvx512VnniLinearKernels;
#endif
  return kPortableLinearKernels;
}

}  // namespace onebeat
