// SPDX-License-Identifier: Apache-2.0
// The `gemma3` family, texts alone: layers with windows between layers that see everything, norms
// on both sides of each block, and a GELU gate.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/tensor_source.h"

namespace onebeat {

/// Errors: those of TensorSource.
[[nodiscard]] Result<std::unique_ptr<ModelFamily>> make_gemma3(const ModelConfig& config,
                                                               TensorSource& tensors);

}  // namespace onebeat
