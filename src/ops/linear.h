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
  /// With isa kAmx and mode kAuto: the tokens take tiles, which are the fastest from about 16
  /// tokens on. A token's bits do not depend on the tokens beside it, but they do on this; so who
  /// computes tokens in changing company decides by what a token is, not by how many there are.
  bool tiles = false;
};

/// Applies several matrices to the same input: the input is quantised once, and the threads share
/// all rows. Every element is summed in one order, whatever the number of parts, threads and
/// tokens. Outputs must not overlap each other or `x`. Errors: kResourceExhausted without working
/// memory. Requires: shapes that fit (a fault of the caller otherwise).
[[nodiscard]] Status linear(ConstMatrix x, std::span<const LinearPart> parts,
                            const LinearOptions& options, ThreadPool& pool);

}  // namespace onebeat
