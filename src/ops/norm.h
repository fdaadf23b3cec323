// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "onebeat/thread_pool.h"
#include "ops/weight.h"

namespace onebeat {

/// out[t] = x[t] / sqrt(mean of x[t]^2 + epsilon) * gain, for every row. `gain` has x.cols numbers.
/// `out` may be `x`.
void rms_norm(ConstMatrix x, const float* gain, float epsilon, Matrix out, ThreadPool& pool);

/// out[t] += x[t] / sqrt(mean of x[t]^2 + epsilon) * gain, for every row: a normalised branch joins
/// the residual. `out` may not be `x`.
void rms_norm_add(ConstMatrix x, const float* gain, float epsilon, Matrix out, ThreadPool& pool);

}  // namespace onebeat
