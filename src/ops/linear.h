// SPDX-License-Identifier: Apache-2.0
// Products of activations with weights that stay as they are in memory.
#pragma once

#include <span>

#include "onebeat/compute.h"
#include "onebeat/thread_pool.h"
#include "ops/weight.h"

namespace onebeat {

/// One weight matrix applied to the input: out[t, r] = sum over c of x[t, c] * weight[r, c] (+
/// bias[r]).
struct LinearPart {
  WeightView weight;            ///< [out.cols, x.cols]
  const float* bias = nullptr;  ///< out.cols numbers, or null.
  Matrix out;                   ///< [x.rows, weight.rows]
  bool add = false;             ///< Increase `out` (a residual) instead of overwriting it.
};

struct LinearOptions {
  ComputeMode mode = ComputeMode::kAuto;
  CpuIsa isa = CpuIsa::kPortable;  ///< Which kernels run; supports(isa) must hold.
  /// A token's bits do not depend on how many tokens there are. Only with isa kAmx and mode kAuto
  /// does it cost anything; all else is so anyway.
  bool batch_invariant = false;
};

/// Applies several matrices to the same input: the input is quantised once, and the threads share
/// all rows. Every element is summed in one order, whatever the number of parts and threads, and,
/// see LinearOptions::batch_invariant, of tokens. Outputs must not overlap each other or
/// `x`. Errors: kResourceExhausted without working memory. Requires: shapes that fit (a fault of
/// the caller otherwise).
[[nodiscard]] Status linear(ConstMatrix x, std::span<const LinearPart> parts,
                            const LinearOptions& options, ThreadPool& pool);

}  // namespace onebeat
