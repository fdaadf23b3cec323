// SPDX-License-Identifier: Apache-2.0
// linear() on tiles.
#pragma once

#include <span>

#include "ops/linear.h"

namespace onebeat {

/// Whether linear() is best computed so: enough tokens, weights in a layout that can be expanded,
/// and no promise that a token's bits do not depend on its company.
[[nodiscard]] bool tiles_pay(ConstMatrix x, std::span<const LinearPart> parts,
                             const LinearOptions& options);

/// As linear(). Requires: tiles_pay().
[[nodiscard]] Status linear_with_tiles(ConstMatrix x, std::span<const LinearPart> parts,
                                       ThreadPool& pool);

}  // namespace onebeat
