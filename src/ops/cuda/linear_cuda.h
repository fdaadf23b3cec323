// SPDX-License-Identifier: Apache-2.0
// Products of a few rows of activations with a weight matrix on a CUDA device: the CUDA twin of
// linear() for decode steps. One launch reads the weight once, near the speed of memory, and
// finishes what follows the product (bias, activation, residual) while the sums are in registers.
//
// All pointers are device memory; 16-bit elements are bf16; strides count elements.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "onebeat/status.h"
#include "ops/cuda/few_rows_kernels.h"
#include "ops/cuda/few_rows_params.h"
#include "ops/cuda/few_rows_rules.h"

struct CUstream_st;

namespace onebeat {

using CudaLinearActivation = cuda::FewRowsActivation;

struct CudaLinearShape {
  std::int32_t outputs = 0;  ///< N: rows of the weight.
  std::int32_t inputs = 0;   ///< K: columns of the weight; a multiple of 8.
};

struct CudaLinearOptions {
  /// Forces kernels: a family ("mma_r32"), or a family and its splits of K ("wgmma_r128/4"). Empty:
  /// what measurements call the fastest for each number of rows.
  std::string variant;
  /// Every output is summed in one order, whatever the number of rows.
  bool batch_invariant = false;
  /// Loads left when the next kernel may start; -1: as measured.
  std::int32_t trigger = -1;
  /// 0: as measured.
  std::int32_t ctas_per_multiprocessor = 0;
};

/// y[m] = activation(norm(x[m]) * weight^T + bias) + residual[m].
struct CudaLinearLaunch {
  const std::uint16_t* weight = nullptr;  ///< [N, K]; rows aligned to 16 bytes.
  std::int64_t weight_stride = 0;
  const std::uint16_t* x = nullptr;  ///< [M, K]; rows aligned to 16 bytes.
  std::int64_t x_stride = 0;
  std::int32_t rows = 0;  ///< M, from 1 to 64.
  /// [M, N], or [M, N / 2] behind an activation; bf16, or fp32 if `y_is_float`. Overlaps no input
  /// but, exactly, the residual.
  void* y = nullptr;
  bool y_is_float = false;
  std::int64_t y_stride = 0;
  const std::uint16_t* residual = nullptr;  ///< Shape of y, bf16; or null.
  std::int64_t residual_stride = 0;
  const float* bias = nullptr;  ///< [N], or null.
  /// From 0 on: rows of x are divided by sqrt(mean of x[m]^2 + norm_epsilon), an RMSNorm whose
  /// gains the weight's columns have taken in. Negative: x as it is.
  float norm_epsilon = -1;
  /// Rows 2j and 2j + 1 of the weight are gate and up j: y[m, j] = act(gate) * up.
  CudaLinearActivation activation = CudaLinearActivation::kNone;
  /// Programmatic dependent launch: weights are loaded before the kernels ahead are complete.
  /// Nothing may write the weight in the kernel ahead, nor in the one before it.
  bool overlap = false;
};

/// Device memory that launches on one stream share.
struct CudaLinearScratch {
  std::span<float> partials;
  std::span<std::uint32_t> counters;  ///< Zero before the first launch; each leaves them zero.
};

/// Products with weights of one shape. Immutable after create(); safe to use from many threads as
/// long as concurrent streams have a scratch each.
class CudaLinear {
 public:
  static constexpr std::int32_t kMaxRows = cuda::kMostFewRows;

  struct ScratchSize {
    std::int64_t partials = 0;
    std::int64_t counters = 0;
  };

  /// Sets up the kernels on the current device, which has `multiprocessors`. Errors:
  /// kInvalidArgument (shape), kUnsupported (a variant that is unknown or cannot take the shape),
  /// whatever CUDA reports.
  [[nodiscard]] static Result<CudaLinear> create(const CudaLinearShape& shape,
                                                 std::int32_t multiprocessors,
                                                 const CudaLinearOptions& options = {});

  /// Name of the kernel that multiplies so many rows; empty if a forced variant takes fewer.
  /// Requires: 1 <= rows <= kMaxRows.
  [[nodiscard]] std::string_view kernel_name(std::int32_t rows) const;
  /// CTAs that share K then. The same requirement.
  [[nodiscard]] std::int32_t splits(std::int32_t rows) const;

  /// Enough for every launch of up to `max_rows` rows.
  [[nodiscard]] ScratchSize scratch_size(std::int32_t max_rows) const;

  /// Enqueues one kernel. Errors: kInvalidArgument (null, unaligned, wrong strides), kOutOfRange
  /// (rows), kUnsupported (a forced variant that does not take so many rows); nothing was enqueued
  /// then. Whatever CUDA reports.
  [[nodiscard]] Status launch(const CudaLinearLaunch& launch, const CudaLinearScratch& scratch,
                              CUstream_st* stream) const;

 private:
  /// What runs for a number of rows.
  struct Choice {
    const cuda::FewRowsKernel* kernel = nullptr;  ///< Null: no kernel of the forced family.
    std::int32_t groups = 1;
    std::int32_t splits = 1;
    std::int32_t trigger = 0;
  };

  CudaLinear() = default;
  [[nodiscard]] Result<Choice> choose(std::int32_t rows, std::int32_t multiprocessors,
                                      const CudaLinearOptions& options) const;
  [[nodiscard]] ScratchSize scratch_of(const Choice& choice) const;
  [[nodiscard]] Status check(const CudaLinearLaunch& launch) const;

  CudaLinearShape shape_;
  std::array<Choice, kMaxRows> choices_;  ///< By rows - 1.
};

}  // namespace onebeat
