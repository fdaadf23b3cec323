// SPDX-License-Identifier: Apache-2.0
// LayerOps: what a model family asks of a device. A family's layer function names buffers and
// weights; the device owns the buffers, their number type and the order of its launches.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "model/config.h"
#include "onebeat/status.h"
#include "ops/weight.h"

namespace onebeat {

/// Activations of a step: one row for each token, columns as said.
enum class Buffer : std::uint8_t {
  kResidual,  ///< width
  kNormed,    ///< width
  kQuery,     ///< H * D
  kKey,       ///< G * D
  kValue,     ///< G * Dv
  kAttended,  ///< H * Dv
  kGate,      ///< feed_forward
  kUp,        ///< feed_forward
  kLogits,    ///< vocabulary
};
inline constexpr int kNumBuffers = 9;

/// Columns of a buffer.
[[nodiscard]] std::int64_t buffer_columns(const ModelConfig& config, Buffer buffer);

/// A matrix of the model, with its bias if it has one.
struct LinearWeight {
  WeightView matrix;
  std::vector<float> bias;
};

/// One product of several with the same input.
struct Product {
  const LinearWeight* weight = nullptr;
  Buffer out = Buffer::kResidual;
};

/// All errors are those of the device or of the memory; shapes were checked when the model was
/// loaded.
class LayerOps {
 public:
  LayerOps() = default;
  LayerOps(const LayerOps&) = delete;
  LayerOps& operator=(const LayerOps&) = delete;
  virtual ~LayerOps() = default;

  /// kResidual = scale * the rows of the table that the step's tokens name.
  virtual Status embed(const WeightView& table, float scale) = 0;
  /// out = x / rms(x) * gain.
  virtual Status rms_norm(Buffer x, std::span<const float> gain, Buffer out) = 0;
  /// out += x / rms(x) * gain.
  virtual Status rms_norm_add(Buffer x, std::span<const float> gain, Buffer out) = 0;
  /// Every head of x, kQuery or kKey, by itself: head = head / rms(head) * gain.
  virtual Status rms_norm_heads(Buffer x, std::span<const float> gain) = 0;
  /// Each product's out = x * weight^T + bias.
  virtual Status linear(Buffer x, std::initializer_list<Product> products) = 0;
  /// out += x * weight^T + bias.
  virtual Status linear_add(Buffer x, const LinearWeight& weight, Buffer out) = 0;
  /// Rotates kQuery and kKey by the tokens' positions, as the layer's class does.
  virtual Status rope(std::int32_t layer) = 0;
  /// Stores kKey and kValue in the layer's cache, then kAttended = attention of kQuery over it.
  virtual Status attention(std::int32_t layer) = 0;
  /// kGate = silu(kGate) * kUp.
  virtual Status silu_mul() = 0;
  /// kGate = gelu(kGate) * kUp, with the tangent's approximation.
  virtual Status gelu_mul() = 0;
  /// From here on the step has only the rows whose logits are wanted.
  virtual Status keep_output_rows() = 0;
};

}  // namespace onebeat
