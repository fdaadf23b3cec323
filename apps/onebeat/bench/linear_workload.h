// SPDX-License-Identifier: Apache-2.0
// The matrix products of a model's decode step, with weights of their own in every layer.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "ops/cuda/linear_cuda.h"

namespace onebeat::cli {

/// The sizes that a step's products follow from.
struct LinearModel {
  std::string_view name;
  std::int32_t layers = 0, hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0,
               vocabulary = 0;
};

[[nodiscard]] std::vector<LinearModel> linear_models();

/// The products of a layer, and the head.
enum LinearProduct : std::int32_t { kQkv, kOut, kGateUp, kDown, kHead };
inline constexpr std::int32_t kLinearProducts = 5;
inline constexpr std::array<std::string_view, kLinearProducts> kLinearProductNames = {
    "qkv", "out", "gate_up", "down", "head"};

[[nodiscard]] CudaLinearShape product_shape(const LinearModel& model, LinearProduct product);

struct LinearTime {
  double us = 0;      ///< Of one product, or of a step.
  double spread = 0;  ///< (largest - smallest) / median.
};

/// Weights of all layers that memory has room for, activations, scratch.
class LinearWorkload {
 public:
  using Linears = std::array<const CudaLinear*, kLinearProducts>;

  /// Takes memory and fills it with random weights. Errors: kResourceExhausted (not even so much
  /// as no L2 holds), whatever CUDA reports.
  [[nodiscard]] static Result<LinearWorkload> create(const LinearModel& model,
                                                     const CudaDeviceFacts& facts,
                                                     cudaStream_t stream);

  [[nodiscard]] std::int32_t layers() const { return layers_; }
  /// Bytes that a product (`layers` of all but the head) must move: weights, input, output.
  [[nodiscard]] double bytes(LinearProduct product, std::int32_t rows) const;
  [[nodiscard]] double step_bytes(std::int32_t rows) const;

  /// One product, again and again with the weights of another layer.
  [[nodiscard]] Result<LinearTime> time_product(const CudaLinear& linear, LinearProduct product,
                                                std::int32_t rows, bool overlap) const;
  /// All layers and the head, each product behind the one whose output it reads; residuals, norms
  /// and activations included, attention left out.
  [[nodiscard]] Result<LinearTime> time_step(const Linears& linears, std::int32_t rows,
                                             bool overlap) const;

 private:
  LinearWorkload() = default;
  [[nodiscard]] const std::uint16_t* weight(LinearProduct product, std::int32_t layer) const;
  [[nodiscard]] CudaLinearLaunch launch_of(LinearProduct product, std::int32_t layer,
                                           std::int32_t rows) const;
  [[nodiscard]] CudaLinearScratch scratch() const;
  [[nodiscard]] Result<LinearTime> time_graph(const CudaGraph& graph, int launches) const;

  LinearModel model_;
  std::int32_t layers_ = 0;
  cudaStream_t stream_ = nullptr;
  CudaEvent begin_, end_;
  DeviceBuffer<std::uint16_t> weights_;
  std::array<std::size_t, kLinearProducts> offset_{};  ///< In a layer; the head lies behind all.
  std::size_t layer_elements_ = 0;
  DeviceBuffer<std::uint16_t> hidden_, qkv_, gated_;
  DeviceBuffer<float> logits_, partials_;
  DeviceBuffer<std::uint32_t> counters_;
};

}  // namespace onebeat::cli
