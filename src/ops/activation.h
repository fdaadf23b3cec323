// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "onebeat/thread_pool.h"
#include "ops/weight.h"

namespace onebeat {

/// gate = silu(gate) * up, element by element, with silu(z) = z / (1 + exp(-z)).
void silu_mul(Matrix gate, ConstMatrix up, ThreadPool& pool);

/// gate = gelu(gate) * up, element by element, with the approximation by a hyperbolic tangent:
/// gelu(z) = z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z^3))).
void gelu_mul(Matrix gate, ConstMatrix up, ThreadPool& pool);

}  // namespace onebeat
