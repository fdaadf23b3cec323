// SPDX-License-Identifier: Apache-2.0
// linear() on tiles.
#pragma once

#include <span>

#include "ops/linear.h"

namespace onebeat {

/// Whether linear() is computed so: the options want it, and the weights are in a layout that can
/// be expanded.
[[nodiscard]] bool takes_tiles(std::span<const LinearPart> parts, const LinearOptions& options);

/// As linear(). Requires: takes_tiles().
[[nodiscard]] Status linear_with_tiles(ConstMatrix x, std::span<const LinearPart> parts,
                                       ThreadPool& pool);

}  // namespace onebeat
